package stage_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"descant/pkg/bus"
	"descant/pkg/embedded/servertest"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/stage"
)

const late = 20 * time.Second

// newJob stores a queued job and its work.
func newJob(t *testing.T, b *bus.Bus, name string) string {
	t.Helper()
	request := job.NewRequest()
	request.Model, request.Dataset, request.Name = "m", "d", name
	spec := job.NewSpec(request, "d", "sha256:aa", nil)
	_, err := b.CreateJob(t.Context(), &pb.Job{Id: spec.ID(), Spec: spec.Canonical(), State: string(job.StateQueued), Name: name}, bus.Change{Stage: string(job.StageTrain)})
	if err != nil {
		t.Fatal(err)
	}
	return spec.ID()
}

// waitState waits until a job has a state and returns its record.
func waitState(t *testing.T, b *bus.Bus, id string, want job.State) bus.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), late)
	defer cancel()
	var last string
	for rec, err := range b.WatchJobs(ctx) {
		if err != nil {
			break
		}
		if rec.Job.GetId() == id {
			if last = rec.Job.GetState(); last == string(want) {
				return rec
			}
		}
	}
	t.Fatalf("job %s is %s, not %s", id, last, want)
	return bus.Record{}
}

// person changes a job as the gateway does.
func person(t *testing.T, b *bus.Bus, id string, to job.State) {
	t.Helper()
	for {
		rec, err := b.Job(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		changed := bus.Clone(rec.Job)
		changed.State = string(to)
		if _, err = b.Advance(t.Context(), rec, changed, bus.Change{}); err == nil {
			return
		}
		if !errors.Is(err, bus.ErrStale) {
			t.Fatal(err)
		}
	}
}

func TestRunner(t *testing.T) {
	t.Parallel()
	cfg := bus.Defaults()
	cfg.URL = servertest.StartNATS(t).URL
	b, err := bus.Connect(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })

	var mu sync.Mutex
	work := map[string]func(context.Context, *stage.Attempt) error{}
	run := func(worker string) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		runner := stage.Runner{Bus: b, Stage: job.StageTrain, Worker: worker, Concurrency: 8, Poll: 20 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := runner.Run(ctx, func(ctx context.Context, a *stage.Attempt) error {
				mu.Lock()
				do := work[a.Spec.Name]
				mu.Unlock()
				return do(ctx, a)
			}); err != nil {
				t.Error(err)
			}
		}()
		return func() { cancel(); <-done }
	}
	// start gives a job to the workers and returns its id.
	start := func(name string, do func(context.Context, *stage.Attempt) error) string {
		mu.Lock()
		work[name] = do
		mu.Unlock()
		return newJob(t, b, name)
	}
	stopFirst := run("first")

	t.Run("done", func(t *testing.T) {
		id := start("done", func(ctx context.Context, a *stage.Attempt) error {
			if err := a.Move(ctx, job.StateTraining, "", nil); err != nil {
				return err
			}
			if err := a.Move(ctx, job.StatePublishing, "", nil); err != nil {
				return err
			}
			return a.Move(ctx, job.StateSucceeded, "", nil)
		})
		rec := waitState(t, b, id, job.StateSucceeded)
		if rec.Job.GetFinishedAt() == nil || rec.Job.GetWorker() != "first" {
			t.Errorf("record = %v", rec.Job)
		}
	})
	t.Run("user error", func(t *testing.T) {
		id := start("user", func(context.Context, *stage.Attempt) error {
			return job.UserError(job.CodeBadDataset, "bad rows", "mend them", job.Problem{Line: 3, Reason: "no answer"})
		})
		rec := waitState(t, b, id, job.StateFailed)
		if e := rec.Job.GetError(); e.GetCode() != "bad_dataset" || e.GetProblems()[0].GetLine() != 3 || rec.Job.GetAttempts() != 1 {
			t.Errorf("record = %v", rec.Job)
		}
	})
	t.Run("infrastructure error costs no attempt", func(t *testing.T) {
		tries := 0
		id := start("infrastructure", func(ctx context.Context, a *stage.Attempt) error {
			if tries++; tries == 1 {
				return job.InfrastructureError(job.CodeStore, "fetch", errors.New("away"))
			}
			if got := a.Job().GetAttempts(); got != 1 {
				t.Errorf("second try counts as attempt %d", got)
			}
			return job.UserError(job.CodeBadModel, "end", "")
		})
		waitState(t, b, id, job.StateFailed)
	})
	t.Run("a bug ends as a dead letter", func(t *testing.T) {
		tries := 0
		id := start("bug", func(context.Context, *stage.Attempt) error {
			if tries++; tries == 2 {
				panic("ouch")
			}
			return errors.New("strange")
		})
		rec := waitState(t, b, id, job.StateFailed)
		if rec.Job.GetError().GetClass() != "bug" || tries != job.MaxAttempts {
			t.Errorf("after %d tries: %v", tries, rec.Job)
		}
		// The record comes before the letter.
		deadline := time.Now().Add(late)
		for {
			if _, err := b.DeadLetter(t.Context(), "train", id); err == nil {
				return
			} else if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	})
	wait := func(running chan<- struct{}) func(context.Context, *stage.Attempt) error {
		return func(ctx context.Context, a *stage.Attempt) error {
			if err := a.Move(ctx, job.StateTraining, "", nil); err != nil {
				return err
			}
			close(running)
			<-ctx.Done()
			return context.Cause(ctx)
		}
	}
	t.Run("cancel", func(t *testing.T) {
		running := make(chan struct{})
		id := start("cancel", wait(running))
		<-running
		person(t, b, id, job.StateCancelling)
		waitState(t, b, id, job.StateCancelled)
	})
	t.Run("cancel is not lost on a loop that only reports", func(t *testing.T) {
		running := make(chan struct{})
		id := start("reporting", func(ctx context.Context, a *stage.Attempt) error {
			if err := a.Move(ctx, job.StateTraining, "", nil); err != nil {
				return err
			}
			close(running)
			for ctx.Err() == nil { // its errors tell of the cancel before the record is polled
				_ = a.Emit(ctx, &pb.Event{Type: bus.EventStep, Step: &pb.Step{Step: 1}})
				_ = a.Update(ctx, "checkpoint", nil)
			}
			return context.Cause(ctx)
		})
		<-running
		person(t, b, id, job.StateCancelling)
		waitState(t, b, id, job.StateCancelled)
	})
	t.Run("pause stores a checkpoint", func(t *testing.T) {
		running := make(chan struct{})
		do := wait(running)
		stored := make(chan error, 1)
		id := start("pause", func(ctx context.Context, a *stage.Attempt) error {
			err := do(ctx, a)
			if errors.Is(err, stage.ErrPaused) {
				stored <- a.Update(context.WithoutCancel(ctx), "", func(j *pb.Job) { j.Checkpoint = "here" })
			}
			return err
		})
		<-running
		person(t, b, id, job.StatePaused)
		if err := <-stored; err != nil {
			t.Fatal(err)
		}
		rec, err := b.Job(t.Context(), id)
		if err != nil || rec.Job.GetState() != "paused" || rec.Job.GetCheckpoint() != "here" {
			t.Errorf("record = %v, %v", rec.Job, err)
		}
	})
	t.Run("a worker that stops hands its job on", func(t *testing.T) {
		running := make(chan struct{})
		again := make(chan string, 1)
		first := true
		do := wait(running)
		id := start("handover", func(ctx context.Context, a *stage.Attempt) error {
			if first {
				first = false
				return do(ctx, a)
			}
			again <- a.Job().GetWorker()
			return job.UserError(job.CodeBadModel, "end", "")
		})
		<-running
		stopFirst()
		stopSecond := run("second")
		defer stopSecond()
		if worker := <-again; worker != "second" {
			t.Errorf("worker %s goes on", worker)
		}
		if rec := waitState(t, b, id, job.StateFailed); rec.Job.GetAttempts() != 1 {
			t.Errorf("a handover cost an attempt: %v", rec.Job)
		}
	})
}
