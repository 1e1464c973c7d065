package trainer

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"descant/pkg/bus"
	"descant/pkg/pb"
	"descant/pkg/stage"
)

// wire is where a reporter of these tests sends its events.
type wire struct {
	mu     sync.Mutex
	events []*pb.Event
	// before is called before an event is stored and may refuse it.
	before func(ctx context.Context, e *pb.Event) error
}

func (w *wire) emit(ctx context.Context, e *pb.Event) error {
	if w.before != nil {
		if err := w.before(ctx, e); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	return nil
}

// steps are the numbers of the stored step events; a message is 0.
func (w *wire) steps() (list []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		list = append(list, int(e.GetStep().GetStep()))
	}
	return list
}

func reporting(w *wire, every int) *reporter {
	return &reporter{emit: w.emit, log: slog.New(slog.DiscardHandler), every: every, wake: make(chan struct{}, 1)}
}

func (r *reporter) steps(from, to int) {
	for i := from; i <= to; i++ {
		r.step(&pb.Step{Step: uint32(i), Total: 1000})
	}
}

func upTo(n int) (list []int) {
	for i := range n {
		list = append(list, i+1)
	}
	return list
}

// TestReporterEnd ends a run while an event is on its way: that one is waited for, and what was reported after it is
// stored by the last flush, everything once and in order.
func TestReporterEnd(t *testing.T) {
	t.Parallel()
	onItsWay, arrive := make(chan struct{}), make(chan struct{})
	w := &wire{}
	w.before = func(ctx context.Context, e *pb.Event) error {
		if e.GetStep().GetStep() == 1 {
			close(onItsWay)
			<-arrive
		}
		return ctx.Err() // an event that is given up half-way may be stored or not
	}
	r := reporting(w, 1)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); r.run(ctx) }()
	r.steps(1, 1)
	<-onItsWay
	r.steps(2, 3)
	stop()
	close(arrive)
	<-ended
	if err := r.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.steps(); !slices.Equal(got, upTo(3)) {
		t.Errorf("steps %v are stored", got)
	}
}

// TestReporterFlush flushes beside the loop that sends, as every checkpoint does: when flush returns, the steps before
// it are stored, and none is sent twice.
func TestReporterFlush(t *testing.T) {
	t.Parallel()
	var underWay atomic.Int32
	w := &wire{}
	w.before = func(_ context.Context, e *pb.Event) error {
		if underWay.Add(1) > 1 {
			t.Errorf("step %d is sent beside another", e.GetStep().GetStep())
		}
		defer underWay.Add(-1)
		runtime.Gosched()
		return nil
	}
	r := reporting(w, 1)
	go r.run(t.Context())
	for at := 10; at <= 500; at += 10 {
		r.steps(at-9, at)
		if err := r.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.steps(); !slices.Equal(got, upTo(at)) {
			t.Fatalf("after the checkpoint of step %d the steps %v are stored", at, got)
		}
	}
}

// TestReporterAway meets a server that is away: flush says so, so that no checkpoint is recorded whose steps are not
// stored, and sends all of them when the server is back.
func TestReporterAway(t *testing.T) {
	t.Parallel()
	away := errors.New("no server")
	w := &wire{before: func(context.Context, *pb.Event) error { return away }}
	r := reporting(w, 1)
	r.steps(1, 4)
	if err := r.flush(t.Context()); !errors.Is(err, away) {
		t.Errorf("flush = %v", err)
	}
	w.before = nil
	if err := r.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.steps(); !slices.Equal(got, upTo(4)) {
		t.Errorf("steps %v are stored", got)
	}
}

// TestReporterDrops reports more than may wait: an event tells how many are missing, and where.
func TestReporterDrops(t *testing.T) {
	t.Parallel()
	w := &wire{}
	r := reporting(w, 1)
	r.steps(1, mostWaiting+3)
	if err := r.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.steps(); len(got) != mostWaiting+1 || got[0] != 0 || got[1] != 4 {
		t.Fatalf("%d events, they begin with %v", len(got), got[:2])
	}
	if gap := w.events[0]; gap.GetType() != bus.EventLog || gap.GetLevel() != "warn" || !strings.HasPrefix(gap.GetMessage(), "3 step and eval events were dropped") {
		t.Errorf("the gap is told by %v", gap)
	}
	r.steps(1, 1)
	if err := r.flush(t.Context()); err != nil || len(w.events) != mostWaiting+2 {
		t.Errorf("the gap is told again: %v", w.events[len(w.events)-1])
	}
}

// TestReporterPaused pauses the job while a step runs: the step is finished, and told.
func TestReporterPaused(t *testing.T) {
	t.Parallel()
	paused := false
	w := &wire{before: func(context.Context, *pb.Event) error {
		if paused {
			return nil
		}
		paused = true
		return stage.ErrPaused
	}}
	r := reporting(w, 1)
	r.steps(1, 2)
	if err := r.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.steps(); !slices.Equal(got, upTo(2)) {
		t.Errorf("steps %v are stored", got)
	}
}

// TestReporterEvery: with logging_steps 5 the first and the last step are told, too.
func TestReporterEvery(t *testing.T) {
	t.Parallel()
	w := &wire{}
	r := reporting(w, 5)
	for i := 1; i <= 12; i++ {
		r.step(&pb.Step{Step: uint32(i), Total: 12})
	}
	if err := r.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.steps(); !slices.Equal(got, []int{1, 5, 10, 12}) || r.progress().GetStep() != 12 {
		t.Errorf("steps %v are stored, the last one is %v", got, r.progress())
	}
}

// TestReporterLast: a training that ends early tells its last step whatever logging_steps is, and once.
func TestReporterLast(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		done int
		want []int
	}{{0, nil}, {7, []int{1, 5, 7}}, {10, []int{1, 5, 10}}} {
		w := &wire{}
		r := reporting(w, 5)
		r.latest = &pb.Step{Step: 3} // of the checkpoint that it went on from, told before
		r.steps(1, tt.done)
		r.last()
		r.last()
		if err := r.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.steps(); !slices.Equal(got, tt.want) {
			t.Errorf("after %d steps %v are stored, want %v", tt.done, got, tt.want)
		}
	}
}
