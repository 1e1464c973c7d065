// Package gateway turns requests into jobs and answers for them: intake of finetune.request, the job,
// adapter and model APIs as NATS micro services, the same over HTTP in OpenAI's dialect, control by
// people, and a reconciler for jobs that no message would wake. It computes nothing and holds no state
// of its own.
//
//	finetune.request ──► admit ──► job received + work.tokenize
//	                       └─────► finetune.events.rejected-<digest>.rejected
//	finetune.jobs.create   the same, answered with the job
//	/v1/…                  the same operations over HTTP
//	finetune.control.<job> cancel, pause, resume ──► the job's record; its worker notices
package gateway

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/openai"
	"descant/pkg/registry"
)

// Deps are what the gateway works with.
type Deps struct {
	Bus      *bus.Bus
	Objects  *blob.Store
	Registry *registry.Registry
	// Bucket is the name of the object store's bucket, as it may stand in an s3:// reference.
	Bucket string
	// Version of the program, a semantic version, for the list of services.
	Version string
	Log     *slog.Logger
}

// Gateway is the service.
type Gateway struct {
	cfg  Config
	deps Deps
	log  *slog.Logger
	// queued remembers at which revision a job's work was queued again, so that a job that only waits
	// for a free worker is not queued once more in every round.
	queued map[string]uint64

	keys      openai.Keys
	listening chan struct{} // closed when the HTTP API takes requests
	address   string        // where it does
}

// New returns a gateway; Run starts it.
func New(cfg Config, deps Deps) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	keys, err := openai.ParseKeys(cfg.APIKeys.Reveal())
	if err != nil {
		return nil, err
	}
	return &Gateway{cfg: cfg, deps: deps, log: deps.Log.With("service", "gateway"), queued: map[string]uint64{}, keys: keys, listening: make(chan struct{})}, nil
}

// Run serves until ctx ends.
func (g *Gateway) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.deps.Bus.Intake(ctx, bus.Options{Worker: "gateway"}, g.intake) })
	group.Go(func() error { return g.deps.Bus.Serve(ctx, g.jobs()) })
	group.Go(func() error { return g.deps.Bus.Serve(ctx, g.adapters()) })
	group.Go(func() error { return g.deps.Bus.Serve(ctx, g.modelService()) })
	group.Go(func() error { return g.controls(ctx) })
	group.Go(func() error { return g.reconcile(ctx) })
	group.Go(func() error { return g.serveAPI(ctx) })
	return group.Wait()
}
