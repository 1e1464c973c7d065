package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// Causes with which the context of an attempt ends before its work does.
var (
	// ErrCancelled: a person has cancelled the job.
	ErrCancelled = errors.New("the job was cancelled")
	// ErrPaused: a person has paused the job. The attempt may store a checkpoint.
	ErrPaused = errors.New("the job was paused")
	// ErrStopping: this worker ends. The attempt may store a checkpoint.
	ErrStopping = errors.New("the worker is stopping")
	// ErrLost: the job was taken over by somebody else; nothing may be written.
	ErrLost = errors.New("the job was taken over by another worker")
)

// Runner takes the work of one stage.
type Runner struct {
	Bus *bus.Bus
	// Stage is the work that is taken.
	Stage job.Stage
	// Worker names this worker in records and leases; unique among all workers.
	Worker string
	// Concurrency is how many jobs are worked on at once. Defaults to 1.
	Concurrency int
	// Poll is how often the record is read to notice a cancel or a pause. Defaults to 500 ms.
	Poll time.Duration
	// Patience is how long the loop may be without a sign of life. Defaults to an hour until
	// Attempt.Sign is called for the first time; see pulse.
	Patience time.Duration
	Log      *slog.Logger
}

// Run takes work until ctx ends. do gets a context that ends, with one of the causes above, when the
// attempt shall end; its outcome is recorded as the package comment draws it.
func (r *Runner) Run(ctx context.Context, do func(ctx context.Context, a *Attempt) error) error {
	if r.Poll <= 0 {
		r.Poll = 500 * time.Millisecond
	}
	if r.Patience <= 0 {
		r.Patience = time.Hour
	}
	options := bus.Options{Concurrency: r.Concurrency, Attempts: job.MaxAttempts, Worker: r.Worker, GaveUp: r.gaveUp}
	return r.Bus.Work(ctx, string(r.Stage), options, func(ctx context.Context, task *bus.Task) error {
		return r.handle(ctx, task, do)
	})
}

func (r *Runner) handle(ctx context.Context, task *bus.Task, do func(context.Context, *Attempt) error) error {
	a, err := r.takeOver(ctx, task)
	if err != nil || a == nil {
		return err
	}
	running, cancel := context.WithCancelCause(ctx)
	a.mu.Lock()
	a.cancel = cancel
	a.mu.Unlock()
	var side sync.WaitGroup
	side.Go(func() { a.pulse.run(running, cancel, task) })
	side.Go(func() { r.observe(running, cancel, a, task.Stopping) })
	err = guarded(running, a, do)
	cause := context.Cause(running)
	cancel(nil)
	side.Wait()
	return r.settle(ctx, a, task, cause, err)
}

// takeOver reads the record and makes it this worker's, or returns nil for work that is not wanted
// any more.
func (r *Runner) takeOver(ctx context.Context, task *bus.Task) (*Attempt, error) {
	rec, err := task.Record(ctx)
	if errors.Is(err, bus.ErrNotFound) {
		return nil, bus.Discard(err)
	}
	if err != nil {
		return nil, err
	}
	state := job.State(rec.Job.GetState())
	log := r.Log.With("job", rec.Job.GetId(), "stage", r.Stage)
	a := &Attempt{runner: r, rec: rec, log: log, pulse: newPulse(r.Patience)}
	if state == job.StateCancelling {
		return nil, a.cancelled(ctx)
	}
	if state.Stage() != r.Stage {
		log.Info("work dropped, the job needs it no more", "state", state)
		return nil, nil
	}
	if a.Spec, err = job.ParseSpec(rec.Job.GetSpec()); err != nil {
		return nil, a.fail(ctx, job.BugError("read the job's spec", err))
	}
	// An attempt is counted before it starts: a job that kills its worker must not do so for ever.
	attempts := rec.Job.GetAttempts() + 1
	task.Attempt = int(attempts)
	if attempts > job.MaxAttempts {
		return nil, a.fail(ctx, job.BugError(fmt.Sprintf("job was given up after %d attempts", attempts-1),
			errors.New("every worker that took it ended in the middle; it may need more memory than there is")))
	}
	if err := a.change(ctx, bus.Change{Events: []*pb.Event{logEvent("info", fmt.Sprintf("worker %s takes the job, attempt %d", r.Worker, attempts))}}, func(j *pb.Job) {
		j.Attempts = attempts
	}); err != nil {
		return nil, err
	}
	return a, nil
}

// observe ends the attempt when the record is changed by somebody else or the worker stops.
func (r *Runner) observe(ctx context.Context, cancel context.CancelCauseFunc, a *Attempt, stopping <-chan struct{}) {
	ticker := time.NewTicker(r.Poll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-stopping:
			cancel(ErrStopping)
			return
		case <-ticker.C:
		}
		rec, err := r.Bus.Job(ctx, a.ID())
		if err != nil {
			continue // a bus that is away shows up in the work itself
		}
		a.compare(rec)
	}
}

func guarded(ctx context.Context, a *Attempt, do func(context.Context, *Attempt) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			crash := job.BugError("panic", fmt.Errorf("%v", v))
			a.trace = string(debug.Stack())
			err = crash
		}
	}()
	return do(ctx, a)
}
