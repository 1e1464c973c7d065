// Package tokenizer is the service that turns a job's dataset into tokenized shards: it fetches the
// base's tokenizer and the rows, says everything that is wrong with the rows, and stores Parquet
// shards under a key made of everything that they depend on, so that the next job with the same data
// finds them there.
//
//	received ─► validating ─► tokenizing ─► queued + work.train
//
//	tokenized/<key>/shard-00000.parquet … manifest.json
//
// It also answers tokenizer.{preview,survey}, by which people see rows as a training does.
package tokenizer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sync/errgroup"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/registry"
	"descant/pkg/stage"
)

// Deps are what the service works with.
type Deps struct {
	Bus      *bus.Bus
	Objects  *blob.Store
	Registry *registry.Registry
	Bases    registry.Bases
	// Worker names this worker; unique among all.
	Worker string
	// Version of the program, a semantic version, for the list of services.
	Version string
	Log     *slog.Logger
}

// Service is the tokenizer.
type Service struct {
	cfg  Config
	deps Deps
	log  *slog.Logger
	// looks holds a place for each look at rows that is under way.
	looks chan struct{}
}

// New returns a tokenizer; Run starts it.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.WorkDir == "" {
		return nil, errors.New("tokenizer: work_dir is empty: name a folder")
	}
	return &Service{cfg: cfg, deps: deps, log: deps.Log.With("service", "tokenizer"), looks: make(chan struct{}, maxLooks)}, nil
}

// Run takes work until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	if err := os.MkdirAll(s.cfg.WorkDir, 0o755); err != nil {
		return fmt.Errorf("tokenizer: %w", err)
	}
	stage.Sweep(s.cfg.WorkDir, s.log)
	runner := stage.Runner{Bus: s.deps.Bus, Stage: job.StageTokenize, Worker: s.deps.Worker, Concurrency: s.cfg.Concurrency, Log: s.log}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return runner.Run(ctx, s.tokenize) })
	group.Go(func() error { return s.deps.Bus.Serve(ctx, s.look()) })
	return group.Wait()
}
