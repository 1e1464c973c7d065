package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/device"
	"descant/pkg/embedded"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
	"descant/pkg/stage"
)

// serviceResult is the line that is printed for a tokenizer that runs as a process of its own.
type serviceResult struct {
	Rows             uint32  `json:"rows"`
	Seconds          float64 `json:"seconds"` // from the request until the job waits for a trainer
	TokenizeSeconds  float64 `json:"tokenize_seconds"`
	RowsPerSecond    float64 `json:"rows_per_second"`
	TokenizerPeakRSS int64   `json:"tokenizer_peak_rss_bytes"`
	Order            order   `json:"order"`
}

// patience bounds what is waited for.
const patience = 2 * time.Hour

// serve measures the service: NATS and S3 run in this process, the gateway and the tokenizer each as a process of binary.
func serve(ctx context.Context, binary, model, file string) (result *serviceResult, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	paths := []*string{&binary, &model, &file} // the embedded store changes the working folder
	for _, path := range paths {
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "rowsbench-service-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s := &service{binary: binary, model: model, dir: dir}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s.measure(ctx, file)
}

// service is a running system of two processes and the clients of this one.
type service struct {
	binary, model, dir string
	servers            *embedded.Servers
	bus                *bus.Bus
	objects            *blob.Store
	processes          []*process
}

type process struct {
	*exec.Cmd
	stderr bytes.Buffer
}

func (s *service) start(ctx context.Context) (err error) {
	log := slog.New(slog.DiscardHandler)
	cfg := embedded.Defaults()
	cfg.Dir, cfg.NATSAddr, cfg.S3Addr = filepath.Join(s.dir, "data"), "127.0.0.1:0", "127.0.0.1:0"
	if s.servers, err = embedded.Start(ctx, cfg, log); err != nil {
		return err
	}
	store := blob.Defaults()
	at := s.servers.Endpoints
	store.Endpoint, store.AccessKey, store.SecretKey = at.S3Endpoint, at.AccessKey, at.SecretKey
	if s.objects, err = blob.Open(ctx, store); err != nil {
		return err
	}
	wire := bus.Defaults()
	wire.URL, wire.Name = at.NATSURL, "rowsbench"
	if s.bus, err = bus.Connect(ctx, wire, log); err != nil {
		return err
	}
	for _, role := range []string{"gateway", "tokenizer"} {
		p := &process{Cmd: exec.CommandContext(ctx, s.binary, role)}
		p.Stderr = &p.stderr
		p.Env = append(os.Environ(), "DESCANT_HTTP_ADDR=127.0.0.1:0", "DESCANT_GATEWAY_ADDR=127.0.0.1:0", "DESCANT_BUS_URL="+wire.URL, "DESCANT_BLOB_ENDPOINT="+store.Endpoint,
			"DESCANT_BLOB_ACCESS_KEY="+store.AccessKey, "DESCANT_BLOB_SECRET_KEY="+store.SecretKey.Reveal(), "DESCANT_HUB_LOCAL_DIRS="+s.model,
			"DESCANT_HUB_WORK_DIR="+filepath.Join(s.dir, "models"), "DESCANT_TOKENIZER_WORK_DIR="+filepath.Join(s.dir, "tokenizer"))
		if err := p.Start(); err != nil {
			return fmt.Errorf("start %s: %w; build it with `make build`", role, err)
		}
		s.processes = append(s.processes, p)
	}
	return nil
}

// stop ends what was started; a process that ended by itself is told with what it printed.
func (s *service) stop() error {
	var errs []error
	for _, p := range s.processes {
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			errs = append(errs, fmt.Errorf("%v: %w: %s", p.Args, err, p.stderr.String()))
		}
		_ = p.Wait() // how it ends after the signal does not matter
	}
	if s.bus != nil {
		errs = append(errs, s.bus.Close())
	}
	if s.servers != nil {
		errs = append(errs, s.servers.Stop())
	}
	return errors.Join(errs...)
}

func (s *service) measure(ctx context.Context, file string) (*serviceResult, error) {
	set, err := registry.New(s.objects, s.bus.Registry()).PushDataset(ctx, "rows", file, filepath.Base(file), 0, time.Now())
	if err != nil {
		return nil, err
	}
	request := fmt.Sprintf(`{"model":%q,"dataset":%q}`, s.model, set.Name)
	started := time.Now()
	view, err := s.submit(ctx, request)
	if err != nil {
		return nil, err
	}
	r := &serviceResult{}
	var tokenizing time.Time
	for event, err := range s.bus.Follow(ctx, view.GetId(), bus.FollowOptions{}) {
		if err != nil {
			return nil, err
		}
		switch state := job.State(event.GetState()); {
		case state == job.StateTokenizing:
			tokenizing = event.GetTime().AsTime()
			continue
		case state.Final():
			return nil, fmt.Errorf("the job is %s: %v", state, event.GetError())
		case state == job.StateQueued:
			r.Seconds, r.TokenizeSeconds = time.Since(started).Seconds(), event.GetTime().AsTime().Sub(tokenizing).Seconds()
		}
		if r.Seconds > 0 {
			break
		}
	}
	rec, err := s.bus.Job(ctx, view.GetId())
	if err != nil {
		return nil, err
	}
	r.Rows = rec.Job.GetArtifacts().GetRows()
	r.RowsPerSecond = float64(r.Rows) / r.TokenizeSeconds
	if r.TokenizerPeakRSS, err = device.PeakRSSOf(s.processes[1].Process.Pid); err != nil {
		return nil, err
	}
	return r, s.read(ctx, rec.Job.GetArtifacts().GetTokenizedKey(), r)
}

func (s *service) submit(ctx context.Context, request string) (*pb.JobView, error) {
	for {
		var view pb.JobView
		err := s.bus.CallRaw(ctx, "finetune.jobs.create", []byte(request), &view)
		if !errors.Is(err, bus.ErrNoResponders) {
			return &view, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// read goes through the shards in training order, as a trainer does.
func (s *service) read(ctx context.Context, key string, r *serviceResult) error {
	folder, err := stage.GetFolder(ctx, s.objects, key)
	if err != nil {
		return err
	}
	paths, err := folder.Fetch(ctx, s.objects, key, filepath.Join(s.dir, "shards"))
	if err != nil {
		return err
	}
	r.Order, err = inOrder(paths)
	return err
}
