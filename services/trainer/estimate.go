package trainer

import (
	"context"
	"path/filepath"

	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/pb"
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
	s := &Service{deps: deps}
	shards, err := s.openShards(ctx, artifacts.GetTokenizedKey(), artifacts.GetTokenizedDigest(), filepath.Join(dir, "shards"))
	if err != nil {
		return nil, err
	}
	var evalShards *dataset.Shards
	if key := artifacts.GetEvalTokenizedKey(); key != "" {
		if evalShards, err = s.openShards(ctx, key, artifacts.GetEvalTokenizedDigest(), filepath.Join(dir, "eval-shards")); err != nil {
			return nil, err
		}
	}
	rows, eval, err := chooseRows(spec.Training, shards, evalShards)
	if err != nil {
		return nil, err
	}
	estimate, err := train.EstimateRun(ctx, train.Config{Device: deps.Device, BaseDir: base.Dir, BaseName: spec.Model,
		Training: spec.Training, Rows: rows, EvalRows: eval, Dir: dir, Logger: deps.Log})
	if err != nil {
		return nil, job.AsError("estimate the training on "+spec.Model, err)
	}
	return estimate, nil
}
