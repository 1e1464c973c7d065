package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"descant/pkg/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service runs f and tells on started when it does.
func service(name string, started chan<- string, f func(ctx context.Context) error) lifecycle.Service {
	return lifecycle.Service{Name: name, Run: func(ctx context.Context) error {
		started <- name
		return f(ctx)
	}}
}

func untilStopped(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err() // being stopped is no failure
}

// TestTwoContexts: the end of ctx stops the taking of work at once; what is
// running goes on until it is told to hurry.
func TestTwoContexts(t *testing.T) {
	t.Parallel()
	started, stopping, hurry := make(chan string, 2), make(chan error), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	var cause error
	done := make(chan error)
	go func() {
		done <- lifecycle.Runner{Grace: time.Hour, Hurry: hurry}.Run(ctx,
			service("idle", started, untilStopped),
			service("busy", started, func(ctx context.Context) error {
				<-ctx.Done()
				work := lifecycle.Working(ctx)
				stopping <- work.Err()
				<-work.Done()
				cause = context.Cause(work)
				return work.Err()
			}))
	}()
	<-started
	<-started
	cancel()
	if err := <-stopping; err != nil {
		t.Errorf("running work was cancelled at the stop: %v", err)
	}
	close(hurry)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !errors.Is(cause, lifecycle.ErrGraceOver) {
		t.Errorf("running work ended with the cause %v", cause)
	}
}

func TestGraceEnds(t *testing.T) {
	t.Parallel()
	started := make(chan string, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- lifecycle.Runner{Grace: time.Millisecond}.Run(ctx, service("busy", started, func(ctx context.Context) error {
			return untilStopped(lifecycle.Working(ctx))
		}))
	}()
	<-started
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestOneEndsAll(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, first := range map[string]error{"failed": broken, "done": nil} {
		started := make(chan string, 2)
		err := lifecycle.Runner{}.Run(t.Context(),
			service("idle", started, untilStopped),
			service("first", started, func(context.Context) error { return first }))
		if !errors.Is(err, first) || (first != nil && !strings.Contains(err.Error(), "first: ")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWorkingAlone(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	if lifecycle.Working(ctx) != ctx {
		t.Error("without a runner the context for work is the one there is")
	}
}

// TestSignals is not parallel: it sends signals to this process.
func TestSignals(t *testing.T) {
	ctx, hurry, release := lifecycle.Signals(t.Context())
	defer release()
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), lifecycle.ErrStopping) {
		t.Error(context.Cause(ctx))
	}
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-hurry
	release()

	ctx, _, release = lifecycle.Signals(t.Context())
	release()
	<-ctx.Done()
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	var ready lifecycle.Readiness
	missing := errors.New("no base model")
	ready.Add("model", func(context.Context) error { return missing })
	ready.Add("bus", func(context.Context) error { return nil })
	metrics := lifecycle.NewMetrics()
	metrics.Counter("descant_steps_total", "Steps.", "worker").Add(2, "w1")
	metrics.Counter("descant_steps_total", "Steps.", "worker").Add(1, "w1") // another service of the process
	metrics.Gauge("descant_rows", "Rows.").Set(4)
	metrics.Histogram("descant_seconds", "Time.", []float64{1, 2}).Observe(1.5)

	ctx, cancel := context.WithCancel(t.Context())
	address, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- lifecycle.ServeHTTP(ctx, "127.0.0.1:0", lifecycle.Handler(&ready, metrics), func(a string) { address <- a })
	}()
	base := "http://" + <-address
	for _, c := range []struct {
		path string
		code int
		want string
	}{
		{"/healthz", 200, "ok"},
		{"/readyz", 503, "no base model"},
		{"/metrics", 200, `descant_steps_total{worker="w1"} 3`},
		{"/metrics", 200, `descant_seconds_bucket{le="2"} 1`},
		{"/metrics", 200, `descant_rows 4`},
		{"/nothing", 404, ""},
	} {
		if code, body := get(t, base+c.path); code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d %s", c.path, code, body)
		}
	}
	ready.Add("model", func(context.Context) error { return nil })
	if code, body := get(t, base+"/readyz"); code != 200 {
		t.Errorf("%d %s", code, body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := lifecycle.ServeHTTP(t.Context(), "127.0.0.1:bad", nil, nil); err == nil {
		t.Error("listened on a bad address")
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestLogger(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{"auto": `{"time"`, "json": `{"time"`, "text": "time="} {
		var out bytes.Buffer
		log, err := lifecycle.NewLogger(&out, lifecycle.LogConfig{Format: format, Level: "warn"})
		if err != nil {
			t.Fatal(err)
		}
		log.Info("quiet")
		log.Warn("loud", slog.Int("n", 1))
		if !strings.HasPrefix(out.String(), want) || strings.Contains(out.String(), "quiet") {
			t.Errorf("%s: %s", format, &out)
		}
	}
	for _, cfg := range []lifecycle.LogConfig{{Format: "xml", Level: "info"}, {Format: "auto", Level: "loud"}} {
		if _, err := lifecycle.NewLogger(io.Discard, cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}
