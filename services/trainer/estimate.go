package trainer

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/stage"
	"descant/pkg/train"
)

// Estimate says what the training of a job would take on this machine. The job's rows are tokenized; dir is a folder for
// what is needed meanwhile.
func Estimate(ctx context.Context, deps Deps, j *pb.Job, dir string) (*train.Estimate, error) {
	spec, err := job.ParseSpec(j.GetSpec())
	if err != nil {
		return nil, err
	}
	spec.Training.InitFrom = "" // where it begins changes nothing of what it takes
	base, err := deps.Bases.Base(ctx, spec.Model)
	if err != nil {
		return nil, err
	}
	artifacts := j.GetArtifacts()
	folder, err := stage.GetFolder(ctx, deps.Objects, artifacts.GetTokenizedKey())
	if err != nil {
		return nil, job.AsError("fetch the tokenized rows", err)
	}
	if folder.Digest() != artifacts.GetTokenizedDigest() {
		return nil, job.BugError("fetch the tokenized rows", errors.New("they are not those that the tokenizer stored"))
	}
	paths, err := folder.Fetch(ctx, deps.Objects, artifacts.GetTokenizedKey(), filepath.Join(dir, "shards"))
	if err != nil {
		return nil, err
	}
	shards, err := dataset.OpenShards(paths)
	if err != nil {
		return nil, job.BugError("open the tokenized rows", err)
	}
	estimate, err := train.EstimateRun(ctx, train.Config{Device: deps.Device, BaseDir: base.Dir, BaseName: spec.Model,
		Training: spec.Training, Rows: shards, Dir: dir, Logger: deps.Log})
	if err != nil {
		return nil, job.AsError(fmt.Sprintf("estimate the training on %s", spec.Model), err)
	}
	return estimate, nil
}
