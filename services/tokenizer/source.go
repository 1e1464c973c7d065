package tokenizer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"descant/pkg/blob"
	"descant/pkg/dataset"
	"descant/pkg/job"
)

// rowsFile is a dataset on this machine.
type rowsFile struct {
	Part
	digest string // sha256:<hex>
}

// fetchAll brings datasets of a job into dir.
func (s *Service) fetchAll(ctx context.Context, parts []job.SpecDataset, dir string) (files []rowsFile, err error) {
	for i, part := range parts {
		file, err := s.fetch(ctx, part, filepath.Join(dir, fmt.Sprintf("rows-%d", i)))
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// fetch brings one of a job's datasets here.
func (s *Service) fetch(ctx context.Context, spec job.SpecDataset, path string) (rowsFile, error) {
	file := rowsFile{Part: Part{Path: path, Name: spec.File(), Weight: spec.Weight}}
	digest, _ := job.SplitDigestRef(spec.Dataset)
	var err error
	switch {
	case spec.Dataset == dataset.SampleName:
		err = os.WriteFile(file.Path, dataset.SampleBytes(), 0o644)
	case strings.HasPrefix(spec.Dataset, "s3://"):
		err = s.fetchObject(ctx, spec, file.Path)
	default:
		err = s.deps.Objects.GetContentFile(ctx, digest, file.Path)
	}
	if err != nil {
		return file, fetchError(spec.Dataset, err)
	}
	file.digest, _, err = blob.DigestFile(file.Path)
	if err != nil {
		return file, job.BugError("read dataset", err)
	}
	if strings.HasPrefix(spec.Digest, "sha256:") && file.digest != spec.Digest {
		return file, job.UserError(job.CodeBadDataset, fmt.Sprintf("dataset %s has digest %s, the job was made for %s", spec.Dataset, file.digest, spec.Digest),
			"it has changed since the request (or this is another version of descant): send the request again")
	}
	return file, nil
}

// fetchObject brings an object that somebody else wrote, if it still is the one that was pinned.
func (s *Service) fetchObject(ctx context.Context, spec job.SpecDataset, path string) error {
	key := strings.TrimPrefix(spec.Dataset, "s3://")
	info, err := s.deps.Objects.Stat(ctx, key)
	if err != nil {
		return err
	}
	if tag := fmt.Sprintf("etag:%s-%d", strings.Trim(info.ETag, `"`), info.Size); tag != spec.Digest {
		return job.UserError(job.CodeBadDataset, fmt.Sprintf("object %s has changed since the request", spec.Dataset), "send the request again to train on what is there now")
	}
	return s.deps.Objects.GetFile(ctx, key, path, "")
}

func fetchError(ref string, err error) error {
	var classed *job.Error
	switch {
	case errors.As(err, &classed):
		return err
	case errors.Is(err, blob.ErrNotFound):
		return job.UserError(job.CodeDatasetMissing, fmt.Sprintf("dataset %s is not in the object store any more", ref), "push the file again with `descant datasets push FILE`")
	case errors.Is(err, blob.ErrDigest):
		return job.BugError("fetch dataset "+ref, err)
	}
	return job.InfrastructureError(job.CodeStore, "fetch dataset "+ref, err)
}
