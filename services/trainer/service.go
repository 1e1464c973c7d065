// Package trainer is the service that trains: it fetches the base and the tokenized rows, runs the
// training, reports every step, stores checkpoints from which any other worker can go on, checks the
// result and publishes it.
//
//	queued ─► training ─► publishing ─► succeeded
//
//	checkpoints/<job>/<epoch>-<step>/…   what training needs to go on, bit for bit
//
// A worker that is killed leaves its job to another, which goes on from the newest checkpoint that it can read; one that
// is stopped stores a checkpoint and hands its job back.
package trainer

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/device"
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
	Device   *device.Device
	// Worker names this worker; unique among all.
	Worker  string
	Version string
	Log     *slog.Logger
}

// Service is the trainer.
type Service struct {
	cfg  Config
	deps Deps
	log  *slog.Logger
	// point hears where the training of a job is, for tests that stop a process there; see train.Config.
	point func(ctx context.Context, job, at string)
}

// New returns a trainer; Run starts it.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Service{cfg: cfg, deps: deps, log: deps.Log.With("service", "trainer"), point: func(context.Context, string, string) {}}, nil
}

// Run takes one job after the other until ctx ends. The job that trains then is stored as a
// checkpoint and handed back.
func (s *Service) Run(ctx context.Context) error {
	if err := os.MkdirAll(s.cfg.WorkDir, 0o755); err != nil {
		return fmt.Errorf("trainer: %w", err)
	}
	stage.Sweep(s.cfg.WorkDir, s.log)
	runner := stage.Runner{Bus: s.deps.Bus, Stage: job.StageTrain, Worker: s.deps.Worker, Log: s.log}
	return runner.Run(ctx, s.train)
}
