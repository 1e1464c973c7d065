// Package inference is the service that answers chat requests with base models and published
// adapters. Every worker can answer every request: what it lacks it fetches from the registry. New
// adapters are loaded when the registry tells of them, so that they answer at once.
//
//	registry watch ─► fetch, verify digests ─► load ─► listed in the workers bucket
//	infer.worker.<id> (from a gateway) ─► resolve ─► prompt ─► tokens ─► text
package inference

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"descant/pkg/bus"
	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// Deps are what the service works with.
type Deps struct {
	Bus      *bus.Bus
	Registry *registry.Registry
	Bases    registry.Bases
	Device   *device.Device
	// Worker names this worker; unique among all, letters, digits, - and _.
	Worker  string
	Version string
	// Metrics get the worker's numbers. Defaults to some of its own.
	Metrics *lifecycle.Metrics
	Log     *slog.Logger
}

// Service is an inference worker.
type Service struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	started time.Time
	pool    *pool
	loads   *loader
	states  *states
	names   names
	meters  meters
	pins    *pins
	host    *host
	disk    *disk
	// failures are adapters that cannot be loaded.
	failures *failures
	changed  chan struct{} // wakes the entry in the list of workers
	told     chan struct{} // wakes the advert
	taking   chan struct{} // closed when requests are taken and the registry was listed once
	ready    chan struct{} // closed when beside that the configured base compiles nothing any more
}

// New returns a worker; Run starts it.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, deps: deps, log: deps.Log.With("service", "inference"), changed: make(chan struct{}, 1), told: make(chan struct{}, 1), taking: make(chan struct{}), ready: make(chan struct{})}
	if s.deps.Metrics == nil {
		s.deps.Metrics = lifecycle.NewMetrics()
	}
	s.meters = newMeters(s.deps.Metrics)
	if err := s.deps.Metrics.Register(newGauges(s)); err != nil {
		return nil, fmt.Errorf("inference: metrics: %w", err)
	}
	s.pool = newPool(cfg.MaxBases, s.open)
	s.loads = newLoader()
	s.pins = newPins()
	s.states = newStates(s.wake, s.pins)
	s.host = newHost(int64(cfg.HostBytes), s.pins)
	s.disk = newDisk(deps.Registry, cfg.WorkDir, int64(cfg.DiskBytes), s.log)
	s.failures = newFailures(cfg.Relist)
	return s, nil
}

// Taking is closed when the worker takes requests and knows what is published. Until it is ready, requests may wait for a
// base that is loaded, or for a program of it that is compiled.
func (s *Service) Taking() <-chan struct{} { return s.taking }

// Ready is closed when the worker takes requests and all programs of the configured base are compiled.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends, finishes the requests that are running, and frees the models.
func (s *Service) Run(ctx context.Context) error {
	if err := os.MkdirAll(s.cfg.WorkDir, 0o755); err != nil {
		return fmt.Errorf("inference: %w", err)
	}
	s.started = time.Now()
	defer s.farewell(ctx)
	defer s.pool.close()
	group, ctx := errgroup.WithContext(ctx)
	var first sync.WaitGroup // what must stand before the worker takes requests
	warm := make(chan struct{})
	first.Add(2)
	group.Go(func() error {
		return s.deps.Bus.ServeWorker(ctx, s.deps.Worker, s.chat, first.Done)
	})
	group.Go(func() error {
		s.deps.Registry.Watch(ctx, s.cfg.Relist, func(entry *pb.AdapterEntry) { s.names.put(entry); s.loads.put(entry) }, first.Done)
		return nil
	})
	group.Go(func() error { return s.advertise(ctx) })
	group.Go(func() error { return s.tell(ctx) })
	group.Go(func() error { return s.serveAPI(ctx) })
	group.Go(func() error { s.load(ctx); return nil })
	group.Go(func() error { defer close(warm); s.preopen(ctx, s.cfg.Model, true); return nil })
	if s.cfg.Warm {
		group.Go(func() error { s.warm(ctx); return nil })
	}
	group.Go(func() error {
		standing := make(chan struct{})
		go func() { first.Wait(); close(standing) }()
		select {
		case <-standing:
			s.log.Info("inference worker takes requests", "worker", s.deps.Worker)
			close(s.taking)
		case <-ctx.Done():
			return nil
		}
		select {
		case <-warm:
			s.log.Info("inference worker is ready", "worker", s.deps.Worker)
			close(s.ready)
			s.wake()
		case <-ctx.Done():
		}
		return nil
	})
	return group.Wait()
}

// preopen loads a base so that the first request need not wait for it, and with warm waits until all its programs are
// compiled. A base that cannot be loaded keeps nobody from the others.
func (s *Service) preopen(ctx context.Context, ref string, warm bool) {
	if ref == "" {
		return
	}
	base, err := s.deps.Bases.Base(ctx, ref)
	if err == nil {
		var model *served
		var release func()
		if model, release, err = s.pool.get(lifecycle.Working(ctx), base); err == nil {
			s.wake()
			if warm {
				s.log.Info("compiling for long contexts and full batches; the worker is ready after that", "base", ref)
				err = model.engine.Warm(ctx)
			}
			release()
		}
	}
	if err != nil && ctx.Err() == nil {
		s.log.Error("cannot load the base; requests for it will try again", "base", ref, "error", err)
	}
	s.wake()
}

// warm loads the bases of jobs that train, so that their adapters find them loaded.
func (s *Service) warm(ctx context.Context) {
	for ctx.Err() == nil {
		for rec, err := range s.deps.Bus.WatchJobs(ctx) {
			if err != nil {
				break
			}
			if state := job.State(rec.Job.GetState()); state != job.StateTraining && state != job.StatePublishing {
				continue
			}
			if spec, err := job.ParseSpec(rec.Job.GetSpec()); err == nil && spec.Training.Method == job.MethodLora {
				s.preopen(ctx, spec.Model, false)
			}
		}
		select { // a watch that broke is opened again
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// advertise tells what this worker serves, on every change and from time to time.
func (s *Service) advertise(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	ticker := time.NewTicker(bus.WorkerRenewal)
	defer ticker.Stop()
	for {
		if err := s.deps.Bus.PutWorker(ctx, s.info(host)); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot advertise this worker", "error", err)
		}
		select {
		case <-ctx.Done():
			gone, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			if err := s.deps.Bus.RemoveWorker(gone, s.deps.Worker); err != nil {
				s.log.Debug("cannot take this worker off the list; it will expire", "error", err)
			}
			return nil
		case <-ticker.C:
		case <-s.changed:
		}
	}
}

func (s *Service) info(host string) *pb.WorkerInfo {
	info := &pb.WorkerInfo{
		Id: s.deps.Worker, Kind: "inference", Host: host, Version: s.deps.Version,
		StartedAt: bus.Timestamp(s.started),
	}
	if s.deps.Device != nil {
		info.Device = s.deps.Device.Name()
	}
	info.Ready = s.isReady()
	for _, m := range s.pool.loaded() {
		info.Base, info.BaseDigest = m.base.Ref, m.base.Digest
		info.Adapters = append(info.Adapters, m.slots.keys()...)
		info.Rows += uint32(s.cfg.MaxRows)
		info.FreeRows += uint32(max(s.cfg.MaxRows-m.engine.Stats().Rows, 0))
	}
	return info
}

// wake has what this worker tells of itself written anew.
func (s *Service) wake() {
	s.tellSoon()
	select {
	case s.changed <- struct{}{}:
	default: // it will be
	}
}
