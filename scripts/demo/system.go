package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"descant/models"
	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/hub"
	"descant/pkg/lifecycle"
)

const (
	startLimit = 90 * time.Second
	stopLimit  = 60 * time.Second
)

// system is a running `descant up` and our connections to it, those of any other program.
type system struct {
	data  string // its folder
	base  string // the files of the tiny base
	store blob.Config
	bus   *bus.Bus

	process *exec.Cmd
	ended   chan struct{} // closed when the process is gone; exit is set then
	exit    error
	log     *tail
}

// where is what `descant up --json` prints when it is ready.
type where struct {
	NATS        string `json:"nats_url"`
	S3          string `json:"s3_endpoint"`
	Bucket      string `json:"bucket"`
	Credentials string `json:"credentials_file"`
}

// start runs `descant up` on free ports and connects to it.
func start(ctx context.Context, binary, data string) (_ *system, err error) {
	s := &system{data: data, ended: make(chan struct{}), log: &tail{limit: 4000}}
	options := hub.Options{Config: hub.Defaults()}
	if options.Builtin, err = models.Builtin(); err != nil {
		return nil, fmt.Errorf("built-in models: %w", err)
	}
	options.WorkDir = filepath.Join(data, "base")
	snapshot, err := hub.Resolve(ctx, "builtin:tiny", options)
	if err != nil {
		return nil, err
	}
	s.base = snapshot.Dir

	args := []string{"up", "--json", "--dir", filepath.Join(data, "up"), "--nats-addr", "127.0.0.1:0", "--s3-addr", "127.0.0.1:0", "--gateway-addr", "127.0.0.1:0"}
	fmt.Printf("%s %s\n", filepath.Base(binary), args[0])
	s.process = exec.Command(binary, args...)
	s.process.Stderr = s.log
	// A group of its own, so that Ctrl-C reaches us first and we stop it in good order.
	s.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := s.process.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	if err := s.process.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w; build it with `make build`", binary, err)
	}
	ready := make(chan where, 1)
	go func() {
		decoder := json.NewDecoder(out)
		var at where
		if decoder.Decode(&at) == nil {
			ready <- at
		}
		io.Copy(io.Discard, out)  //nolint:errcheck // until the process ends
		s.exit = s.process.Wait() // after the pipe is read to its end
		close(s.ended)
	}()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	select {
	case at := <-ready:
		return s, s.connect(ctx, at)
	case <-s.ended:
		return nil, fmt.Errorf("descant up ended at once (%w):\n%s", s.exit, s.log)
	case <-time.After(startLimit):
		return nil, fmt.Errorf("descant up was not ready after %s:\n%s", startLimit, s.log)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *system) connect(ctx context.Context, at where) error {
	data, err := os.ReadFile(at.Credentials)
	if err != nil {
		return fmt.Errorf("read the keys of the object store: %w", err)
	}
	var keys struct {
		AccessKey string `json:"access_key"`
		SecretKey string `json:"secret_key"`
	}
	if err := json.Unmarshal(data, &keys); err != nil {
		return fmt.Errorf("read the keys of the object store: %w", err)
	}
	s.store = blob.Defaults()
	s.store.Endpoint, s.store.Bucket = at.S3, at.Bucket
	s.store.AccessKey, s.store.SecretKey = keys.AccessKey, lifecycle.NewSecret(keys.SecretKey)
	cfg := bus.Defaults()
	cfg.URL, cfg.Name = at.NATS, "demo"
	s.bus, err = bus.Connect(ctx, cfg, slog.New(slog.DiscardHandler))
	fmt.Printf("ready: NATS at %s, object store at %s\n", at.NATS, at.S3)
	return err
}

// stop ends the connections and the process; stopping twice is fine.
func (s *system) stop() error {
	var errs []error
	if s.bus != nil {
		errs = append(errs, s.bus.Close())
		s.bus = nil
	}
	select {
	case <-s.ended:
		return errors.Join(errs...)
	default:
	}
	errs = append(errs, s.process.Process.Signal(os.Interrupt))
	select {
	case <-s.ended:
		if s.exit != nil {
			errs = append(errs, fmt.Errorf("descant up ended badly (%w):\n%s", s.exit, s.log))
		}
	case <-time.After(stopLimit):
		errs = append(errs, fmt.Errorf("descant up did not stop within %s and was killed", stopLimit), s.process.Process.Kill())
	}
	return errors.Join(errs...)
}

// tail keeps the end of what is written to it.
type tail struct {
	mu    sync.Mutex
	text  bytes.Buffer
	limit int
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(p)
	if extra := t.text.Len() - t.limit; extra > 0 {
		t.text.Next(extra)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
