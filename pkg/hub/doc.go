// Package hub turns the name of a base model into a folder of checked files and a digest.
//
//	./models/qwen            a local folder
//	Qwen/Qwen2.5-0.5B        a repository of the Hugging Face hub or a mirror of it, at its main revision
//	Qwen/Qwen2.5-0.5B@<rev>  … at a branch, tag or commit
//	sha256:<hex>             a snapshot in the object store, by its digest
//	s3://<bucket>/<prefix>   a plain folder of files in the object store
//	builtin:tiny             a model that is part of the program
//
// The cache of the hub is the one that Python's huggingface_hub keeps, so that a model is downloaded once
// for both:
//
//	$HF_HOME/hub/models--<org>--<name>/
//	   refs/<revision>             the commit that a branch or tag stood for
//	   blobs/<etag>                contents; <etag>.incomplete while they arrive
//	   snapshots/<commit>/<file>   → ../../blobs/<etag>
//
// With Config.ModelScope the same names are those of ModelScope (main is master there). Its files are kept beside, under
// modelscope--<org>--<name>, in the same layout; all etags are sha256, and the commit is a hash over names and hashes of
// the files, as ModelScope tells none.
//
// Only what a model needs is fetched: configuration, tokenizer and safetensors weights; never pickles.
//
// The package speaks HTTP itself: go-huggingface's hub client neither resumes a broken download, nor
// follows the redirects by which the hub serves large files, nor checks a hash, nor works offline.
package hub
