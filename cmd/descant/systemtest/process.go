// Package systemtest runs the product as processes for tests: it builds the binary once, starts
// services with their command, environment and configuration file, waits until they are ready, stops
// or kills them, and keeps what they print. It is imported by tests only.
package systemtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience is how long a process may take to be ready or to end, on a busy machine.
const Patience = 90 * time.Second

// build holds the binary of this test process.
type build struct {
	once sync.Once
	path string
	err  error
}

var built build // one build serves all tests of a package

// Binary builds cmd/descant once and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "descant-systemtest-*")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "descant")
		out, err := exec.CommandContext(context.Background(), "go", "build", "-o", built.path, "descant/cmd/descant").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatalf("build descant: %v", built.err)
	}
	return built.path
}

// Remove deletes the binary; call it at the end of TestMain.
func Remove() {
	if built.path != "" {
		_ = os.RemoveAll(filepath.Dir(built.path)) // it lies in the temporary folder anyway
	}
}

// Command says how to start a process.
type Command struct {
	// Name is what messages call the process.
	Name string
	// Path of the program. Defaults to the binary of descant.
	Path string
	Args []string
	// Env is added to a small clean environment.
	Env []string
	// Dir is the working folder. Defaults to a temporary one.
	Dir string
	// Keep is the test with whose end the process is stopped. Defaults to the one that starts it; a
	// subtest whose process shall outlive it names its parent.
	Keep testing.TB
	// Ready is the URL that answers 200 when the process is ready. Defaults to no waiting.
	Ready string
}

// Process is a started process; it is stopped when the test ends.
type Process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}

	mu   sync.Mutex
	text strings.Builder
	err  error
}

// Start starts a process and waits until it is ready.
func Start(t testing.TB, c Command) *Process {
	t.Helper()
	p := Launch(t, c)
	if c.Ready != "" {
		p.waitReady(t, c.Ready)
	}
	return p
}

// Launch starts a process and does not wait.
func Launch(t testing.TB, c Command) *Process {
	t.Helper()
	if c.Path == "" {
		c.Path = Binary(t)
	}
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	// The process ends by Stop or Kill, not by a context: the end of the test's comes too early.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), c.Path, c.Args...)
	cmd.Dir = c.Dir
	cmd.Env = append(Environment(), c.Env...)
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", c.Name, err)
	}
	p := &Process{name: c.Name, cmd: cmd, done: make(chan struct{})}
	read := make(chan struct{})
	go func() {
		defer close(read)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			p.mu.Lock()
			p.text.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
		}
	}()
	go func() {
		err := cmd.Wait()
		in.Close()
		<-read
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(p.done)
	}()
	keep := t
	if c.Keep != nil {
		keep = c.Keep
	}
	keep.Cleanup(func() {
		p.Stop(keep)
		if keep.Failed() {
			keep.Logf("last lines of %s:\n%s", p.name, tail(p.Output(), 60))
		}
	})
	return p
}

// Environment is what every process gets: where the native parts are, and nothing of the user's own
// configuration.
func Environment() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "DESCANT_CACHE", "DESCANT_XLA_PLUGIN", "XDG_CACHE_HOME", "TMPDIR", "LD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func (p *Process) waitReady(t testing.TB, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := client.Do(request); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-p.done:
			t.Fatalf("%s ended before it was ready:\n%s", p.name, p.Output())
		case <-ctx.Done():
			t.Fatalf("%s is not ready:\n%s", p.name, p.Output())
		case <-time.After(50 * time.Millisecond): // readiness is polled, as an orchestrator does
		}
	}
}

// Stop asks the process to end as an orchestrator does, and kills it if it does not.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-p.done:
	case <-time.After(Patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		t.Errorf("%s did not end within %s of SIGTERM", p.name, Patience)
	}
}

// Kill ends the process at once, as a crash does.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
}

// Wait waits for the end of a process that ends by itself and returns how it ended.
func (p *Process) Wait(t testing.TB) error {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(Patience):
		t.Fatalf("%s does not end:\n%s", p.name, p.Output())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// tail returns the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(len(all)-lines, 0):], "\n")
}

// Output is what the process has printed so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}
