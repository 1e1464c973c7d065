package embedded_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/embedded"
	"descant/pkg/pb"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// sleeps up to ten seconds before it notices that its server stopped
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		// writes the date header for as long as the process lives
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"))
}

func start(t *testing.T, cfg embedded.Config) *embedded.Servers {
	t.Helper()
	s, err := embedded.Start(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *embedded.Servers) {
	t.Helper()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
}

func free(dir string) embedded.Config {
	return embedded.Config{Dir: dir, NATSAddr: "127.0.0.1:0", S3Addr: "127.0.0.1:0"}
}

func clients(t *testing.T, at embedded.Endpoints) (*bus.Bus, *blob.Store) {
	t.Helper()
	cfg := bus.Defaults()
	cfg.URL = at.NATSURL
	b, err := bus.Connect(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	objects := blob.Defaults()
	objects.Endpoint, objects.AccessKey, objects.SecretKey = at.S3Endpoint, at.AccessKey, at.SecretKey
	store, err := blob.Open(t.Context(), objects)
	if err != nil {
		t.Fatal(err)
	}
	return b, store
}

// TestSecondStart: a second start finds the jobs, the objects and the keys of
// the first, and the working folder is what it was after each stop.
func TestSecondStart(t *testing.T) {
	dir := t.TempDir()
	home, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	first := start(t, free(dir))
	b, store := clients(t, first.Endpoints)
	if _, err := b.CreateJob(t.Context(), &pb.Job{Id: "j1", State: "queued"}, bus.Change{Events: []*pb.Event{{}}}); err != nil {
		t.Fatal(err)
	}
	digest, err := store.PutContent(t.Context(), []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	stop(t, first)
	if now, err := os.Getwd(); err != nil || now != home {
		t.Errorf("working folder %s, %v; want %s", now, err, home)
	}

	second := start(t, free(dir))
	if second.Endpoints.AccessKey != first.Endpoints.AccessKey || second.Endpoints.SecretKey != first.Endpoints.SecretKey {
		t.Error("the keys changed")
	}
	b, store = clients(t, second.Endpoints)
	if rec, err := b.Job(t.Context(), "j1"); err != nil || rec.Job.State != "queued" {
		t.Errorf("job after the restart: %v, %v", rec, err)
	}
	if got, err := store.GetContent(t.Context(), digest, 100); err != nil || string(got) != "kept" {
		t.Errorf("object after the restart: %q, %v", got, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(filepath.Join(dir, "s3-credentials.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("credentials: %v, %v", info, err)
	}
}

func TestBusyPorts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	for flag, change := range map[string]func(*embedded.Config){
		"--nats-addr": func(c *embedded.Config) { c.NATSAddr = address },
		"--s3-addr":   func(c *embedded.Config) { c.S3Addr = address },
	} {
		cfg := free(t.TempDir())
		change(&cfg)
		_, err := embedded.Start(t.Context(), cfg, nil)
		if err == nil || !strings.Contains(err.Error(), flag) || !strings.Contains(err.Error(), address) {
			t.Errorf("%s on a busy port: %v", flag, err)
		}
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	cases := map[string]struct {
		change func(*embedded.Config)
		want   string
	}{
		"open address": {func(c *embedded.Config) { c.NATSAddr = "0.0.0.0:0" }, "loopback"},
		"no port":      {func(c *embedded.Config) { c.S3Addr = "127.0.0.1" }, "host:port"},
		"no folder":    {func(c *embedded.Config) { c.Dir = "" }, "--dir"},
	}
	for name, c := range cases {
		cfg := free(dir)
		c.change(&cfg)
		if _, err := embedded.Start(t.Context(), cfg, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	start(t, free(dir))
	if _, err := embedded.Start(t.Context(), free(dir), nil); err == nil || !strings.Contains(err.Error(), "in use by another") {
		t.Errorf("second start on a folder in use: %v", err)
	}
	if _, err := embedded.Start(t.Context(), free(t.TempDir()), nil); err == nil {
		t.Error("two S3 servers in one process")
	}
}

func TestDamagedCredentials(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "s3-credentials.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Start(context.Background(), free(dir), nil); err == nil || !strings.Contains(err.Error(), "s3-credentials.json") {
		t.Error(err)
	}
}
