package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"descant/pkg/blob"
	"descant/pkg/dataset"
	"descant/pkg/job"
)

// spec pins every dataset of a request.
func (g *Gateway) spec(ctx context.Context, request job.Request) (job.Spec, error) {
	var eval *job.SpecDataset
	if name := request.EvalDataset; name != "" {
		ref, digest, err := g.pin(ctx, job.Request{Dataset: name})
		if err != nil {
			return job.Spec{}, err
		}
		eval = &job.SpecDataset{Name: name, Dataset: ref, Digest: digest, Weight: 1}
	}
	if len(request.Datasets) == 0 {
		ref, digest, err := g.pin(ctx, request)
		return job.NewSpec(request, ref, digest, eval), err
	}
	var parts []job.SpecDataset
	for _, part := range request.Datasets {
		ref, digest, err := g.pin(ctx, job.Request{Dataset: part.Name})
		if err != nil {
			return job.Spec{}, err
		}
		parts = append(parts, job.SpecDataset{Name: part.Name, Dataset: ref, Digest: digest, Weight: part.Weight})
	}
	return job.NewMixtureSpec(request, parts, eval), nil
}

// pin finds what a request's dataset reference stands for now and returns the reference that the
// tokenizer opens and the digest that makes the job's identity. Inline rows become an object.
func (g *Gateway) pin(ctx context.Context, request job.Request) (ref, digest string, err error) {
	switch {
	case len(request.Rows) > 0:
		digest, err = g.deps.Objects.PutContent(ctx, request.InlineRows())
		if err != nil {
			return "", "", job.InfrastructureError(job.CodeStore, "store the rows of the request", err)
		}
		return digest, digest, nil
	case request.Dataset == dataset.SampleName:
		return request.Dataset, blob.Digest(dataset.SampleBytes()), nil
	case strings.HasPrefix(request.Dataset, "builtin:"):
		return "", "", missing(request.Dataset, "the only built-in dataset is "+dataset.SampleName)
	case strings.HasPrefix(request.Dataset, "sha256:"):
		return g.pinDigest(ctx, request.Dataset)
	case strings.HasPrefix(request.Dataset, "s3://"):
		return g.pinObject(ctx, request.Dataset)
	}
	set, err := g.deps.Registry.Dataset(ctx, request.Dataset)
	if err != nil {
		return "", "", err
	}
	return contentRef(set.Digest, set.File), set.Digest, nil
}

// contentRef refers to content by its digest, and by its name where that says how it is read.
func contentRef(digest, file string) string {
	if dataset.IsText(file) && job.ValidFileName(file) {
		return job.DigestRef(digest, file)
	}
	return digest
}

func (g *Gateway) pinDigest(ctx context.Context, ref string) (string, string, error) {
	digest, file := job.SplitDigestRef(ref)
	if file != "" && !job.ValidFileName(file) {
		return "", "", missing(ref, "write the name of a file behind the digest, such as sha256:…/book.txt, or leave it out")
	}
	key, err := blob.ContentKey(digest)
	if err != nil {
		return "", "", missing(digest, err.Error())
	}
	if _, err := g.deps.Objects.Stat(ctx, key); err != nil {
		return "", "", objectError(digest, err)
	}
	return contentRef(digest, file), digest, nil
}

// pinObject pins an object that somebody else wrote by its ETag: its content has no digest yet.
func (g *Gateway) pinObject(ctx context.Context, ref string) (string, string, error) {
	key := strings.TrimPrefix(ref, "s3://")
	if bucket, rest, ok := strings.Cut(key, "/"); ok && bucket == g.deps.Bucket {
		key = rest
	}
	info, err := g.deps.Objects.Stat(ctx, key)
	if err != nil {
		return "", "", objectError(ref, err)
	}
	return "s3://" + key, fmt.Sprintf("etag:%s-%d", strings.Trim(info.ETag, `"`), info.Size), nil
}

func objectError(ref string, err error) error {
	if errors.Is(err, blob.ErrNotFound) {
		return missing(ref, "push the file with `descant datasets push FILE`, or write it into this system's bucket and use s3://key")
	}
	if errors.Is(err, blob.ErrUnavailable) {
		return job.InfrastructureError(job.CodeStore, "look up dataset "+ref, err)
	}
	return job.UserError(job.CodeDatasetMissing, fmt.Sprintf("dataset %s cannot be read: %v", ref, err), "use a key of this system's bucket: s3://path/to/rows.jsonl")
}

func missing(ref, next string) error {
	return job.UserError(job.CodeDatasetMissing, fmt.Sprintf("there is no dataset %q", ref), next)
}
