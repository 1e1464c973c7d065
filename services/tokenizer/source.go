package tokenizer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"descant/pkg/blob"
	"descant/pkg/dataset"
	"descant/pkg/job"
)

// rowsFile is a dataset on this machine.
type rowsFile struct {
	path   string
	name   string // what messages call it
	digest string // sha256:<hex>
}

// fetch brings a job's dataset into dir.
func (s *Service) fetch(ctx context.Context, spec job.Spec, dir string) (rowsFile, error) {
	file := rowsFile{path: filepath.Join(dir, "rows"), name: spec.Dataset}
	var err error
	switch {
	case spec.Dataset == dataset.SampleName:
		err = os.WriteFile(file.path, dataset.SampleBytes(), 0o644)
	case strings.HasPrefix(spec.Dataset, "s3://"):
		err = s.fetchObject(ctx, spec, file.path)
	default:
		err = s.deps.Objects.GetContentFile(ctx, spec.Dataset, file.path)
	}
	if err != nil {
		return file, fetchError(spec.Dataset, err)
	}
	file.digest, _, err = blob.DigestFile(file.path)
	if err != nil {
		return file, job.BugError("read dataset", err)
	}
	if strings.HasPrefix(spec.DatasetDigest, "sha256:") && file.digest != spec.DatasetDigest {
		return file, job.UserError(job.CodeBadDataset, fmt.Sprintf("dataset %s has digest %s, the job was made for %s", spec.Dataset, file.digest, spec.DatasetDigest),
			"it has changed since the request (or this is another version of descant): send the request again")
	}
	return file, nil
}

// fetchObject brings an object that somebody else wrote, if it still is the one that was pinned.
func (s *Service) fetchObject(ctx context.Context, spec job.Spec, path string) error {
	key := strings.TrimPrefix(spec.Dataset, "s3://")
	info, err := s.deps.Objects.Stat(ctx, key)
	if err != nil {
		return err
	}
	if tag := fmt.Sprintf("etag:%s-%d", strings.Trim(info.ETag, `"`), info.Size); tag != spec.DatasetDigest {
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

// reader opens the rows for reading.
func (f rowsFile) reader() (io.ReadCloser, error) {
	in, err := os.Open(f.path)
	if err != nil {
		return nil, job.BugError("open dataset", err)
	}
	return in, nil
}

// datasetError turns what the dataset package found into a user error with every problem.
func datasetError(err error) error {
	var bad *dataset.ValidationError
	if !errors.As(err, &bad) {
		return err
	}
	problems := make([]job.Problem, 0, len(bad.Problems)+1)
	for _, p := range bad.Problems {
		line := p.Line
		if line == 0 {
			line = p.Row // Parquet has rows in place of lines
		}
		problems = append(problems, job.Problem{Field: p.Field, Line: line, Reason: p.Found, Next: p.Hint})
	}
	if more := bad.Total - len(bad.Problems); more > 0 {
		problems = append(problems, job.Problem{Reason: fmt.Sprintf("and %d more; the bad rows are on lines %s", more, bad.Lines)})
	}
	message := fmt.Sprintf("dataset %s cannot be used: %d problems in %d rows", bad.File, bad.Total, bad.BadRows)
	if bad.Total == 1 {
		message = fmt.Sprintf("dataset %s cannot be used", bad.File)
	}
	return job.UserError(job.CodeBadDataset, message, "mend the rows and push the file again; `descant validate FILE` shows the same list", problems...)
}
