// Package up runs `descant up` for the programs of scripts/.
package up

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	startLimit = 90 * time.Second
	stopLimit  = 60 * time.Second
)

// Where is what `descant up --json` prints when it is ready.
type Where struct {
	NATS        string `json:"nats_url"`
	S3          string `json:"s3_endpoint"`
	Bucket      string `json:"bucket"`
	Credentials string `json:"credentials_file"`
	API         string `json:"api_url"`
}

// System is a running `descant up`.
type System struct {
	Where

	process *exec.Cmd
	ended   chan struct{} // closed when the process is gone; exit is set then
	exit    error
	log     *tail
}

// Start runs `descant up` on free ports with its data in dir, and returns when it is ready. The caller calls Stop.
func Start(ctx context.Context, binary, dir string, flags ...string) (_ *System, err error) {
	s := &System{ended: make(chan struct{}), log: &tail{limit: 4000}}
	args := append([]string{"up", "--json", "--dir", dir, "--nats-addr", "127.0.0.1:0", "--s3-addr", "127.0.0.1:0", "--gateway-addr", "127.0.0.1:0"}, flags...)
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
	ready := make(chan Where, 1)
	go func() {
		decoder := json.NewDecoder(out)
		var at Where
		if decoder.Decode(&at) == nil {
			ready <- at
		}
		io.Copy(io.Discard, out)  //nolint:errcheck // until the process ends
		s.exit = s.process.Wait() // after the pipe is read to its end
		close(s.ended)
	}()
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Stop())
		}
	}()
	select {
	case s.Where = <-ready:
		return s, nil
	case <-s.ended:
		return nil, fmt.Errorf("descant up ended at once (%w):\n%s", s.exit, s.log)
	case <-time.After(startLimit):
		return nil, fmt.Errorf("descant up was not ready after %s:\n%s", startLimit, s.log)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Stop ends the process; stopping twice is fine.
func (s *System) Stop() error {
	select {
	case <-s.ended:
		return nil
	default:
	}
	err := s.process.Process.Signal(os.Interrupt)
	select {
	case <-s.ended:
		if s.exit != nil {
			err = errors.Join(err, fmt.Errorf("descant up ended badly (%w):\n%s", s.exit, s.log))
		}
	case <-time.After(stopLimit):
		err = errors.Join(err, fmt.Errorf("descant up did not stop within %s and was killed", stopLimit), s.process.Process.Kill())
	}
	return err
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
