// Package registry knows the published adapters and the pushed datasets by name: publish, resolve,
// list, watch, fetch. It trains and serves nothing.
//
//	blobs/sha256/<hex>                  files of adapters and datasets, and manifests
//	adapters/<name>/<hex>/manifest.json the manifest of one version, written last, create-only
//	datasets/<name>.json                the dataset that a name stands for now
//	bucket registry, key <name>         pb.AdapterEntry: versions and aliases, moved by compare-and-set
//
// Identity of an adapter is the sha256 of its canonical manifest. An adapter is visible when, and
// only when, its entry in the bucket names it; everything before that is harmless rubbish.
//
// References:
//
//	my-adapter              the alias latest
//	my-adapter@prod         an alias
//	my-adapter@3            a version; never changes
//	my-adapter@sha256:<hex> a version by its identity; never changes
package registry
