package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"descant/models"
	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/device"
	"descant/pkg/embedded"
	"descant/pkg/hub"
	"descant/pkg/lifecycle"
	"descant/pkg/registry"
	"descant/services/gateway"
	"descant/services/inference"
	"descant/services/tokenizer"
	"descant/services/trainer"
)

// The kinds of services, each also a command.
const (
	kindGateway   = "gateway"
	kindTokenizer = "tokenizer"
	kindTrainer   = "trainer"
	kindInference = "inference"
)

func serviceKinds() []string {
	return []string{kindGateway, kindTokenizer, kindTrainer, kindInference}
}

// system is a connection to a bus and an object store, and the services of this process that use them.
type system struct {
	cfg      Config
	log      *slog.Logger
	servers  *embedded.Servers // nil when the servers are elsewhere
	bus      *bus.Bus
	objects  *blob.Store
	registry *registry.Registry
	hub      hub.Options
	device   *device.Device // opened for the first service that computes
	metrics  *lifecycle.Metrics

	inference *inference.Service
	gateway   *gateway.Gateway
}

// connect reaches the bus and the object store of the configuration.
func connect(ctx context.Context, cfg Config, log *slog.Logger) (*system, error) {
	return open(ctx, &system{cfg: cfg, log: log})
}

// startEmbedded runs bus and object store in this process and connects to them: from there on everything
// is as with servers elsewhere.
func startEmbedded(ctx context.Context, cfg Config, log *slog.Logger) (*system, error) {
	servers, err := embedded.Start(ctx, cfg.Embedded, log)
	if err != nil {
		return nil, err
	}
	at := servers.Endpoints
	cfg.Bus = bus.Config{URL: at.NATSURL, Name: cfg.Bus.Name, Replicas: 1, AckWait: cfg.Bus.AckWait, Retention: cfg.Bus.Retention, Timeout: cfg.Bus.Timeout}
	cfg.Blob.Endpoint, cfg.Blob.AccessKey, cfg.Blob.SecretKey = at.S3Endpoint, at.AccessKey, at.SecretKey
	s, err := open(ctx, &system{cfg: cfg, log: log, servers: servers})
	if err != nil {
		return nil, err
	}
	if err := s.revive(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("look for jobs that were left: %w", err), s.close())
	}
	return s, nil
}

func open(ctx context.Context, s *system) (_ *system, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.bus == nil {
		if s.bus, err = bus.Connect(ctx, s.cfg.Bus, s.log); err != nil {
			return nil, err
		}
	}
	if s.objects, err = blob.Open(ctx, s.cfg.Blob); err != nil {
		return nil, err
	}
	s.registry = registry.New(s.objects, s.bus.Registry())
	s.metrics = lifecycle.NewMetrics()
	if s.hub, err = hubOptions(s.cfg, s.objects); err != nil {
		return nil, err
	}
	return s, nil
}

// close releases everything in the reverse order.
func (s *system) close() error {
	var errs []error
	if s.device != nil {
		s.device.Close()
	}
	if s.bus != nil {
		errs = append(errs, s.bus.Close())
	}
	if s.servers != nil {
		errs = append(errs, s.servers.Stop())
	}
	return errors.Join(errs...)
}

// services makes the services of the given kinds.
func (s *system) services(kinds ...string) ([]lifecycle.Service, error) {
	var list []lifecycle.Service
	for _, kind := range kinds {
		run, err := s.service(kind)
		if err != nil {
			return nil, err
		}
		list = append(list, lifecycle.Service{Name: kind, Run: run})
	}
	return list, nil
}

func (s *system) service(kind string) (func(context.Context) error, error) {
	worker, version := s.cfg.workerName(kind), buildVersion()
	bases := registry.HubBases{Options: s.hub}
	switch kind {
	case kindGateway:
		g, err := gateway.New(s.cfg.Gateway, gateway.Deps{Bus: s.bus, Objects: s.objects, Registry: s.registry,
			Bucket: s.cfg.Blob.Bucket, Version: version, Log: s.log})
		if err != nil {
			return nil, err
		}
		s.gateway = g
		return g.Run, nil
	case kindTokenizer:
		t, err := tokenizer.New(s.cfg.Tokenizer, tokenizer.Deps{Bus: s.bus, Objects: s.objects, Registry: s.registry, Bases: bases,
			Worker: worker, Version: version, Log: s.log})
		if err != nil {
			return nil, err
		}
		return t.Run, nil
	}
	if err := s.openDevice(); err != nil {
		return nil, err
	}
	switch kind {
	case kindTrainer:
		t, err := trainer.New(s.cfg.Trainer, trainer.Deps{Bus: s.bus, Objects: s.objects, Registry: s.registry, Bases: bases,
			Device: s.device, Worker: worker, Version: version, Log: s.log})
		if err != nil {
			return nil, err
		}
		return t.Run, nil
	case kindInference:
		i, err := inference.New(s.cfg.Inference, inference.Deps{Bus: s.bus, Registry: s.registry, Bases: bases,
			Device: s.device, Worker: worker, Version: version, Metrics: s.metrics, Log: s.log})
		if err != nil {
			return nil, err
		}
		s.inference = i
		return i.Run, nil
	}
	return nil, fmt.Errorf("there is no service %q", kind)
}

func (s *system) openDevice() error {
	if s.device != nil {
		return nil
	}
	d, err := device.Open(s.cfg.Device)
	if err != nil {
		return err
	}
	s.device = d
	s.log.Info("device", "kind", d.Kind(), "name", d.Name())
	return nil
}

// hubOptions lets models come from the hub, the program itself, and the object store if there is one.
func hubOptions(cfg Config, objects *blob.Store) (hub.Options, error) {
	builtin, err := models.Builtin()
	if err != nil {
		return hub.Options{}, fmt.Errorf("built-in models: %w", err)
	}
	opts := hub.Options{Config: cfg.Hub, Builtin: builtin}
	if objects != nil {
		opts.Store = modelStore{Store: objects, bucket: cfg.Blob.Bucket}
	}
	return opts, nil
}

// modelStore is the object store as package hub sees it.
type modelStore struct {
	*blob.Store
	bucket string
}

// Bucket is the name in s3:// URLs.
func (m modelStore) Bucket() string { return m.bucket }

// Versions tells the ETag of every object with the prefix.
func (m modelStore) Versions(ctx context.Context, prefix string) (map[string]string, error) {
	objects, err := m.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(objects))
	for _, o := range objects {
		out[o.Key] = fmt.Sprintf("%s-%d", strings.Trim(o.ETag, `"`), o.Size)
	}
	return out, nil
}

// readiness checks the two servers.
func (s *system) readiness() *lifecycle.Readiness {
	ready := new(lifecycle.Readiness)
	ready.Add("bus", s.bus.Ready)
	ready.Add("object store", s.objects.Ready)
	if i := s.inference; i != nil {
		ready.Add("inference", started(i.Ready()))
	}
	if g := s.gateway; g != nil {
		ready.Add("gateway", started(g.Listening()))
	}
	return ready
}

// started is a check that passes once a channel is closed.
func started(done <-chan struct{}) func(context.Context) error {
	return func(context.Context) error {
		select {
		case <-done:
			return nil
		default:
			return errors.New("starting")
		}
	}
}

// serve runs services until a signal, with health and metrics beside them.
func (s *system) serve(ctx context.Context, hurry <-chan struct{}, services []lifecycle.Service) error {
	if addr := s.cfg.HTTP.Addr; addr != httpOff {
		handler := lifecycle.Handler(s.readiness(), s.metrics)
		services = append(services, lifecycle.Service{Name: "http", Run: func(ctx context.Context) error {
			return lifecycle.ServeHTTP(ctx, addr, handler, func(at string) { s.log.Info("health and metrics", "address", "http://"+at) })
		}})
	}
	if s.servers != nil {
		services = append(services, lifecycle.Service{Name: "object store", Run: func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				return nil
			case <-s.servers.Failed():
				return errors.New("it ended by itself; the log says why")
			}
		}})
	}
	return lifecycle.Runner{Grace: s.cfg.Grace, Hurry: hurry, Log: s.log}.Run(ctx, services...)
}
