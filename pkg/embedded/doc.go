// Package embedded runs a NATS server with JetStream and an S3 server inside
// this process, on loopback addresses, with their data under one folder:
//
//	<dir>/lock                  held while the servers run
//	<dir>/s3-credentials.json   keys of the S3 account, mode 0600
//	<dir>/nats/                 JetStream store, every write synced
//	<dir>/s3/                   a folder for each bucket
//	<dir>/s3-meta/              attributes of objects, where the file system
//	                            has no extended attributes
//
// To the services they are servers like any others.
//
// The S3 server makes <dir>/s3 the working folder of the whole process and
// needs it to stay so until Stop, which goes back: whoever calls Start must
// have made every relative path absolute before. It does not sync its files; what was lost in a power failure
// shows as a digest that does not match. Only one can run in a process.
package embedded
