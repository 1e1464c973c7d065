// Package gateway turns requests into jobs and answers for them: intake of finetune.request, the job,
// adapter and model APIs as NATS micro services, the same over HTTP in OpenAI's dialect, control by
// people, and a reconciler for jobs that no message would wake. It computes nothing and holds no state
// of its own.
//
//	finetune.request ──► admit ──► job received + work.tokenize
//	                       └─────► finetune.events.rejected-<digest>.rejected
//	finetune.jobs.create   the same, answered with the job
//	/v1/…                  the same operations over HTTP
//	inference.chat         ──► infer.worker.<id>, tried elsewhere if that one refuses or dies
//	finetune.control.<job> cancel, pause, resume ──► the job's record; its worker notices
package gateway

import (
	"context"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/lifecycle"
	"descant/pkg/openai"
	"descant/pkg/registry"
	"descant/pkg/route"
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

	router  *route.Router
	routing chan struct{} // closed when the workers are known

	answers   lifecycle.Drain // of the HTTP API, which a stop waits for
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
	g := &Gateway{cfg: cfg, deps: deps, log: deps.Log.With("service", "gateway"), queued: map[string]uint64{}, routing: make(chan struct{}), keys: keys, listening: make(chan struct{})}
	g.router = route.New(route.Config{Wait: cfg.WaitForWorker, MaxWaiting: maxWaiting}, deps.Bus, g.wish, g.log)
	return g, nil
}

// Run serves until ctx ends.
func (g *Gateway) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.deps.Bus.Intake(ctx, bus.Options{Worker: "gateway"}, g.intake) })
	group.Go(func() error { return g.deps.Bus.Serve(ctx, g.jobs()) })
	group.Go(func() error { return g.deps.Bus.Serve(ctx, g.adapters()) })
	group.Go(func() error { return g.deps.Bus.Serve(ctx, g.modelService()) })
	group.Go(func() error { return g.deps.Bus.Serve(ctx, g.datasets()) })
	group.Go(func() error { return g.deps.Bus.Serve(ctx, g.workers()) })
	group.Go(func() error { return g.controls(ctx) })
	group.Go(func() error { return g.reconcile(ctx) })
	group.Go(func() error { g.router.Run(ctx, func() { close(g.routing) }); return nil })
	group.Go(func() error { return g.serveChat(ctx) })
	group.Go(func() error { return g.serveAPI(ctx) })
	return group.Wait()
}
