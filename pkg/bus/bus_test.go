package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"descant/pkg/bus"
	"descant/pkg/embedded"
	"descant/pkg/embedded/servertest"
	"descant/pkg/pb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleakOptions()...) }

// goleakOptions leaves out what the embedded servers keep for the process.
func goleakOptions() []goleak.Option {
	return []goleak.Option{
		// sleeps up to ten seconds before it notices that its server stopped
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"),
		// writes the date header for as long as the process lives
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
	}
}

// TestBus runs one suite against the embedded server and a real one.
func TestBus(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		servers, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), NATSAddr: "127.0.0.1:0", S3Addr: "127.0.0.1:0"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := servers.Stop(); err != nil {
				t.Error(err)
			}
		})
		conformance(t, servers.Endpoints.NATSURL)
	})
	t.Run("nats-server", func(t *testing.T) {
		conformance(t, servertest.StartNATS(t).URL)
	})
}

func conformance(t *testing.T, url string) {
	b := connect(t, url, nil)
	cases := map[string]func(*testing.T){
		"create and advance":   func(t *testing.T) { createAndAdvance(t, b) },
		"one of many advances": func(t *testing.T) { advanceRace(t, b) },
		"stale batch":          func(t *testing.T) { staleBatch(t, b) },
		"fenced events":        func(t *testing.T) { fencedEvents(t, b) },
		"follow":               func(t *testing.T) { follow(t, b) },
		"list and watch":       func(t *testing.T) { listAndWatch(t, b) },
		"list while changing":  func(t *testing.T) { listWhileChanging(t, b) },
		"rejection":            func(t *testing.T) { rejection(t, b) },
		"work":                 func(t *testing.T) { work(t, b) },
		"outcomes":             func(t *testing.T) { outcomes(t, b) },
		"panic":                func(t *testing.T) { panics(t, b) },
		"release":              func(t *testing.T) { release(t, b) },
		"silent worker":        silentWorker,
		"intake":               func(t *testing.T) { intake(t, b) },
		"leases":               func(t *testing.T) { leases(t, b) },
		"bucket":               func(t *testing.T) { bucket(t, b) },
		"workers":              func(t *testing.T) { workers(t, b) },
		"adverts":              func(t *testing.T) { adverts(t, b) },
		"control":              func(t *testing.T) { control(t, b) },
		"metrics":              func(t *testing.T) { metrics(t, b) },
		"service":              func(t *testing.T) { service(t, b) },
		"chat":                 func(t *testing.T) { chat(t, b) },
		"chat cancelled":       func(t *testing.T) { chatCancelled(t, b) },
		"chat errors":          func(t *testing.T) { chatErrors(t, b) },
		"chat disconnected":    func(t *testing.T) { chatDisconnected(t, b, url) },
		"chat drained":         func(t *testing.T) { chatDrained(t, b) },
		"chat abandoned":       func(t *testing.T) { chatAbandoned(t, b) },
		"stock nats cli":       func(t *testing.T) { stockCLI(t, b, url) },
		"second boot":          func(t *testing.T) { connect(t, url, nil) },
		"drift that cannot be": drift,
		"guest":                guest,
	}
	t.Run("cases", func(t *testing.T) {
		for name, run := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				run(t)
			})
		}
	})
	if err := b.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestKilledServer: what was acknowledged is there after the server was killed,
// and the connection heals by itself.
func TestKilledServer(t *testing.T) {
	server := servertest.StartNATS(t)
	b := connect(t, server.URL, nil)
	rec := create(t, b, &pb.Job{Id: "kill-1", State: "training"}, bus.Change{Events: []*pb.Event{{}}, Stage: "kill"})
	server.Restart(t)
	eventually(t, func() bool { return b.Ready(t.Context()) == nil })
	read, err := b.Job(limited(t), "kill-1")
	must(t, err)
	if read.Revision != rec.Revision || len(past(t, b, "kill-1")) != 1 {
		t.Errorf("after the restart: %v at %d", read.Job, read.Revision)
	}
	got := make(chan string, 1)
	background(t, func(ctx context.Context) error {
		return b.Work(ctx, "kill", bus.Options{}, func(_ context.Context, task *bus.Task) error {
			got <- task.Work.Job
			return nil
		})
	})
	if id := receive(t, got); id != "kill-1" {
		t.Error(id)
	}
}

func shortWait(cfg *bus.Config) { cfg.AckWait = time.Second }

func connect(t *testing.T, url string, change func(*bus.Config)) *bus.Bus {
	t.Helper()
	cfg := bus.Defaults()
	cfg.URL = url
	cfg.Timeout = 20 * time.Second // tests share a busy machine
	if change != nil {
		change(&cfg)
	}
	b, err := bus.Connect(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// limited bounds a test that waits for something that may never come.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func create(t *testing.T, b *bus.Bus, job *pb.Job, change bus.Change) bus.Record {
	t.Helper()
	rec, err := b.CreateJob(t.Context(), job, change)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func advance(t *testing.T, b *bus.Bus, rec bus.Record, state string, change bus.Change) bus.Record {
	t.Helper()
	job := bus.Clone(rec.Job)
	job.State = state
	next, err := b.Advance(t.Context(), rec, job, change)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func wantIs(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error %v, want one that is %q", err, target)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// background runs a consumer until the test stops it, and fails the test if it
// ends with an error.
func background(t *testing.T, run func(ctx context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// receive waits for a value that another goroutine sends.
func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-limited(t).Done():
		t.Fatal("waited in vain")
		panic("unreachable")
	}
}
