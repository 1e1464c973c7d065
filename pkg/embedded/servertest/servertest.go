// Package servertest starts real server processes for tests: nats-server and
// minio, from the cache that `make setup` fills, on free loopback ports, each
// with its own folder, stopped when the test ends. A missing binary fails the
// test.
package servertest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startup is how long a server may take to be ready, on a busy machine.
const startup = 60 * time.Second

// NATS is a running nats-server process.
type NATS struct {
	URL string
	dir string
	cmd *process
}

// MinIO is a running MinIO process.
type MinIO struct {
	Endpoint  string // http://127.0.0.1:<port>
	AccessKey string
	SecretKey string
}

// Binary returns the path of a server in the cache's bin folder.
func Binary(t testing.TB, name string) string {
	t.Helper()
	cache := os.Getenv("DESCANT_CACHE")
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			t.Fatalf("no cache folder: %v; set DESCANT_CACHE", err)
		}
		cache = filepath.Join(base, "descant")
	}
	path := filepath.Join(cache, "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("the test server %s is missing (%v); run `make setup`, which builds it into the cache", name, err)
	}
	return path
}

// StartNATS starts nats-server with JetStream, every write synced.
func StartNATS(t testing.TB) *NATS {
	t.Helper()
	n := startNATS(t, t.TempDir(), "-1")
	// Once, here: a restarted server must outlive the clients that the test
	// opened before the restart.
	t.Cleanup(func() { n.cmd.stop(syscall.SIGTERM) })
	return n
}

// Restart kills the server and starts it again on the same port and folder.
func (n *NATS) Restart(t testing.TB) {
	t.Helper()
	n.cmd.stop(syscall.SIGKILL)
	_, port, _ := strings.Cut(strings.TrimPrefix(n.URL, "nats://"), ":")
	*n = *startNATS(t, n.dir, port)
}

var listening = regexp.MustCompile(`Listening for client connections on (127\.0\.0\.1:\d+)`)

func startNATS(t testing.TB, dir, port string) *NATS {
	t.Helper()
	conf := fmt.Sprintf("host: 127.0.0.1\nport: %s\njetstream { store_dir: %q, sync_interval: always }\n", port, filepath.Join(dir, "store"))
	path := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, exec.Command(Binary(t, "nats-server"), "-c", path))
	address := ""
	defer func() {
		if t.Failed() {
			p.stop(syscall.SIGKILL)
		}
	}()
	p.wait(t, func(line string) bool {
		if m := listening.FindStringSubmatch(line); m != nil {
			address = m[1]
		}
		return strings.Contains(line, "Server is ready")
	})
	return &NATS{URL: "nats://" + address, dir: dir, cmd: p}
}

// StartMinIO starts a MinIO server with one folder.
func StartMinIO(t testing.TB) *MinIO {
	t.Helper()
	address := FreeAddress(t)
	m := &MinIO{Endpoint: "http://" + address, AccessKey: "descant-test", SecretKey: "descant-test-secret"}
	cmd := exec.Command(Binary(t, "minio"), "server", "--quiet", "--address", address, "--console-address", FreeAddress(t), t.TempDir())
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+m.AccessKey, "MINIO_ROOT_PASSWORD="+m.SecretKey, "MINIO_UPDATE=off", "HOME="+t.TempDir())
	p := start(t, cmd)
	t.Cleanup(func() { p.stop(syscall.SIGTERM) })
	ctx, cancel := context.WithTimeout(context.Background(), startup)
	defer cancel()
	for !healthy(ctx, m.Endpoint+"/minio/health/ready") {
		select {
		case <-p.done:
			t.Fatalf("minio ended before it was ready:\n%s", p.output())
		case <-ctx.Done():
			t.Fatalf("minio is not ready after %s:\n%s", startup, p.output())
		case <-time.After(50 * time.Millisecond): // MinIO has no signal to wait on
		}
	}
	return m
}

func healthy(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// process is a child whose output is kept; who starts it stops it.
type process struct {
	cmd   *exec.Cmd
	done  chan struct{}
	lines chan string

	mu  sync.Mutex
	log strings.Builder
}

func start(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	p := &process{cmd: cmd, done: make(chan struct{}), lines: make(chan string, 1024)}
	go func() {
		_ = cmd.Wait() // how it ends does not matter; that it ended does
		in.Close()
	}()
	go func() {
		defer close(p.done)
		scan := bufio.NewScanner(out)
		for scan.Scan() {
			p.mu.Lock()
			p.log.WriteString(scan.Text() + "\n")
			p.mu.Unlock()
			select {
			case p.lines <- scan.Text():
			default: // nobody waits any more
			}
		}
	}()
	return p
}

func (p *process) wait(t testing.TB, ready func(line string) bool) {
	t.Helper()
	late := time.After(startup)
	for {
		select {
		case line := <-p.lines:
			if ready(line) {
				return
			}
		case <-p.done:
			t.Fatalf("%s ended before it was ready:\n%s", p.cmd.Path, p.output())
		case <-late:
			t.Fatalf("%s is not ready after %s:\n%s", p.cmd.Path, startup, p.output())
		}
	}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *process) stop(signal syscall.Signal) {
	_ = p.cmd.Process.Signal(signal) // it may have ended already
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}
