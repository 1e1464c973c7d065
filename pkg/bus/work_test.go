package bus_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"descant/pkg/bus"
	"descant/pkg/embedded/servertest"
	"descant/pkg/lifecycle"
	"descant/pkg/pb"
)

// work: what Advance asks for arrives, with the record and the lease.
func work(t *testing.T, b *bus.Bus) {
	got := make(chan *pb.Work, 10)
	background(t, func(ctx context.Context) error {
		return b.Work(ctx, "work", bus.Options{Worker: "w1", Concurrency: 2}, func(ctx context.Context, task *bus.Task) error {
			rec, err := task.Record(ctx)
			if err != nil {
				return err
			}
			if owner, err := b.LeaseOwner(ctx, bus.JobLease(rec.Job.Id)); err != nil || owner != "w1" {
				t.Errorf("lease of %s is held by %q, %v", rec.Job.Id, owner, err)
			}
			if err := task.Heartbeat(ctx); err != nil {
				t.Error(err)
			}
			got <- task.Work
			return nil
		})
	})
	rec := create(t, b, &pb.Job{Id: "work-1", State: "received"}, bus.Change{Stage: "work"})
	if w := receive(t, got); w.Job != "work-1" || w.Epoch != 1 || w.Stage != "work" {
		t.Errorf("%v", w)
	}
	advance(t, b, rec, "queued", bus.Change{Stage: "work"})
	if w := receive(t, got); w.Epoch != 2 {
		t.Errorf("%v", w)
	}
	eventually(t, func() bool {
		_, err := b.LeaseOwner(t.Context(), bus.JobLease("work-1"))
		return errors.Is(err, bus.ErrNotFound)
	})
}

// eventually waits for what has no signal: a change inside the server.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := limited(t).Done()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("it never came about")
		}
	}
}

func outcomes(t *testing.T, b *bus.Bus) {
	infra := errors.New("store unreachable")
	final := errors.New("cannot ever work")
	type gaveUp struct {
		job string
		err error
	}
	gave := make(chan gaveUp, 10)
	done := make(chan string, 10)
	var retries, bugs, stales atomic.Int32
	background(t, func(ctx context.Context) error {
		opts := bus.Options{Worker: "w1", Concurrency: 4, Attempts: 2, GaveUp: func(_ context.Context, job string, err error) error {
			gave <- gaveUp{job, err}
			return nil
		}}
		return b.Work(ctx, "outcome", opts, func(ctx context.Context, task *bus.Task) error {
			switch task.Work.Job {
			case "outcome-retry": // more often than the attempts allow
				if retries.Add(1) < 5 {
					return bus.Retry(infra, time.Millisecond)
				}
			case "outcome-discard":
				return bus.Discard(final)
			case "outcome-bug":
				bugs.Add(1)
				return errors.New("a bug")
			case "outcome-stale":
				if stales.Add(1) > 1 {
					t.Error("dropped work came again")
				}
				done <- task.Work.Job
				return bus.ErrStale
			}
			done <- task.Work.Job
			return nil
		})
	})
	for _, id := range []string{"outcome-retry", "outcome-discard", "outcome-bug", "outcome-stale"} {
		create(t, b, &pb.Job{Id: id, State: "queued"}, bus.Change{Stage: "outcome"})
	}
	finished := map[string]bool{receive(t, done): true, receive(t, done): true}
	if !finished["outcome-retry"] || !finished["outcome-stale"] || retries.Load() != 5 {
		t.Errorf("finished %v, %d retries", finished, retries.Load())
	}
	failed := map[string]error{}
	for range 2 {
		g := receive(t, gave)
		failed[g.job] = g.err
	}
	wantIs(t, failed["outcome-discard"], final)
	if failed["outcome-bug"] == nil || bugs.Load() != 2 {
		t.Errorf("bug given up as %v after %d attempts", failed["outcome-bug"], bugs.Load())
	}
	for id, reason := range map[string]string{"outcome-discard": "cannot ever work", "outcome-bug": "a bug"} {
		eventually(t, func() bool {
			letter, err := b.DeadLetter(t.Context(), "outcome", id)
			return err == nil && letter.Reason == reason && letter.Job == id && len(letter.Payload) > 0
		})
	}
}

func panics(t *testing.T, b *bus.Bus) {
	gave := make(chan error, 1)
	background(t, func(ctx context.Context) error {
		opts := bus.Options{Attempts: 1, GaveUp: func(_ context.Context, _ string, err error) error { gave <- err; return nil }}
		return b.Work(ctx, "panic", opts, func(context.Context, *bus.Task) error { panic("shape [2 3]") })
	})
	create(t, b, &pb.Job{Id: "panic-1"}, bus.Change{Stage: "panic"})
	if err := receive(t, gave); !strings.Contains(err.Error(), "shape [2 3]") {
		t.Error(err)
	}
	eventually(t, func() bool {
		letter, err := b.DeadLetter(t.Context(), "panic", "panic-1")
		return err == nil && strings.Contains(letter.Trace, "work_test.go")
	})
}

// release: a worker that stops hands its job back, and another goes on at once,
// long before AckWait is over.
func release(t *testing.T, b *bus.Bus) {
	started := make(chan string, 2)
	handler := func(name string) func(context.Context, *bus.Task) error {
		return func(_ context.Context, task *bus.Task) error {
			started <- name
			if name == "second" {
				return nil
			}
			<-task.Stopping
			return bus.Release()
		}
	}
	stop := background(t, func(ctx context.Context) error {
		working, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		return b.Work(lifecycle.WithWorking(ctx, working), "release", bus.Options{Worker: "first"}, handler("first"))
	})
	create(t, b, &pb.Job{Id: "release-1"}, bus.Change{Stage: "release"})
	if name := receive(t, started); name != "first" {
		t.Fatal(name)
	}
	stop()
	background(t, func(ctx context.Context) error {
		return b.Work(ctx, "release", bus.Options{Worker: "second"}, handler("second"))
	})
	if name := receive(t, started); name != "second" {
		t.Fatal(name)
	}
}

// silentWorker: a worker that stops feeding its heartbeat loses its job to
// another and learns it from its next event.
func silentWorker(t *testing.T) {
	// A server of its own: AckWait is also how long leases live in the bucket.
	url := servertest.StartNATS(t).URL
	b, other := connect(t, url, shortWait), connect(t, url, shortWait)
	lost := make(chan error, 1)
	silent, resumed := make(chan struct{}), make(chan struct{})
	background(t, func(ctx context.Context) error {
		return b.Work(ctx, "silent", bus.Options{Worker: "silent"}, func(ctx context.Context, task *bus.Task) error {
			if task.Delivered > 1 {
				return bus.Retry(errors.New("for the other worker"), time.Millisecond)
			}
			rec, err := task.Record(ctx)
			if err != nil {
				return err
			}
			close(silent)
			select { // says nothing for longer than AckWait
			case <-resumed:
			case <-ctx.Done():
				return ctx.Err()
			}
			err = b.Emit(ctx, rec, &pb.Event{Type: bus.EventStep})
			lost <- err
			return err
		})
	})
	create(t, b, &pb.Job{Id: "silent-1", State: "queued"}, bus.Change{Stage: "silent"})
	receive(t, silent)
	background(t, func(ctx context.Context) error {
		return other.Work(ctx, "silent", bus.Options{Worker: "lively"}, func(ctx context.Context, task *bus.Task) error {
			rec, err := task.Record(ctx)
			if err != nil {
				return err
			}
			job := bus.Clone(rec.Job)
			job.Worker = "lively"
			if _, err := other.Advance(ctx, rec, job, bus.Change{}); err != nil {
				return err
			}
			close(resumed)
			return nil
		})
	})
	wantIs(t, receive(t, lost), bus.ErrStale)
}

func intake(t *testing.T, b *bus.Bus) {
	got := make(chan bus.Request, 10)
	var refused atomic.Bool
	background(t, func(ctx context.Context) error {
		return b.Intake(ctx, bus.Options{}, func(_ context.Context, req bus.Request) error {
			if string(req.Data) == "again" && refused.CompareAndSwap(false, true) {
				return bus.Retry(errors.New("not yet"), time.Millisecond)
			}
			got <- req
			return nil
		})
	})
	seq, err := b.Submit(t.Context(), []byte("again"))
	must(t, err)
	for {
		req := receive(t, got)
		if string(req.Data) != "again" {
			continue // from the command line test beside this one
		}
		if req.Seq != seq || req.Delivered != 2 {
			t.Errorf("%+v, submitted as %d", req, seq)
		}
		return
	}
}
