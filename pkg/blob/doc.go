// Package blob keeps objects in an S3-compatible store: put, get, stat, list,
// delete, content-addressed put and create-only commit. There is one
// implementation, S3; what is embedded in `descant up` speaks S3 as well.
//
//	blobs/sha256/<hex>   written under its own digest, never changes
//	<any other key>      named by the caller
//
// A group of objects becomes visible by one manifest, written last with
// [Store.PutIfAbsent]. Nothing here knows what the objects mean.
package blob
