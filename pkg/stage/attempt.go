package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// Attempt is a job in the hands of a worker. Its methods may be called from several goroutines.
type Attempt struct {
	Spec job.Spec

	runner *Runner
	log    *slog.Logger
	pulse  *pulse
	trace  string

	mu  sync.Mutex
	rec bus.Record
	// ended is set when somebody else has ended the attempt; after a person did, the record is the one
	// that the person wrote.
	ended  error
	cancel context.CancelCauseFunc // ends the attempt's context
}

// ID returns the job's id.
func (a *Attempt) ID() string { return a.Job().GetId() }

// Job returns the record as this worker knows it; it must not be changed.
func (a *Attempt) Job() *pb.Job {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rec.Job
}

// Log returns the logger of the attempt.
func (a *Attempt) Log() *slog.Logger { return a.log }

// Sign is the sign of life of the loop that does the work.
func (a *Attempt) Sign() { a.pulse.sign() }

// Move brings the job to another state together with edit's changes and a state event; further
// events go with it. A state with another stage wakes that stage's workers. ErrLost means that the
// job has gone to somebody else.
func (a *Attempt) Move(ctx context.Context, to job.State, message string, edit func(*pb.Job), events ...*pb.Event) error {
	if err := a.over(); err != nil {
		return err
	}
	from := job.State(a.Job().GetState())
	if from != to && !from.CanGo(to) {
		return job.BugError("move job "+a.ID(), fmt.Errorf("from %s to %s is not a transition", from, to))
	}
	change := bus.Change{Events: append([]*pb.Event{{Type: bus.EventState, State: string(to), Message: message}}, events...)}
	if to.Stage() != "" && to.Stage() != a.runner.Stage {
		change.Stage = string(to.Stage())
	}
	return a.change(ctx, change, func(j *pb.Job) {
		j.State = string(to)
		if change.Stage != "" {
			j.Attempts = 0
		}
		if to.Final() {
			j.FinishedAt = bus.Timestamp(time.Now())
		}
		if edit != nil {
			edit(j)
		}
	})
}

// Update changes the record without changing its state, for instance when a checkpoint is stored. It
// also works on a job that was just paused.
func (a *Attempt) Update(ctx context.Context, message string, edit func(*pb.Job)) error {
	var change bus.Change
	if message != "" {
		change.Events = []*pb.Event{logEvent("info", message)}
	}
	return a.change(ctx, change, edit)
}

// Emit publishes an event of the job. It also works on a job that was just paused: the first call that meets the pause
// returns ErrPaused, the next one is stored.
func (a *Attempt) Emit(ctx context.Context, event *pb.Event) error {
	a.mu.Lock()
	rec, ended := a.rec, a.ended
	a.mu.Unlock()
	if ended != nil && !errors.Is(ended, ErrPaused) {
		return ended
	}
	event.Worker = a.runner.Worker
	return a.lost(ctx, a.runner.Bus.Emit(ctx, rec, event))
}

// Say publishes a log event for the people who follow the job.
func (a *Attempt) Say(ctx context.Context, level, message string) error {
	return a.Emit(ctx, logEvent(level, message))
}

func logEvent(level, message string) *pb.Event {
	return &pb.Event{Type: bus.EventLog, Level: level, Message: message}
}

// change stores the record with edit's changes.
func (a *Attempt) change(ctx context.Context, change bus.Change, edit func(*pb.Job)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended != nil && !errors.Is(a.ended, ErrPaused) {
		return a.ended
	}
	changed := bus.Clone(a.rec.Job)
	changed.Worker = a.runner.Worker
	if edit != nil {
		edit(changed)
	}
	rec, err := a.runner.Bus.Advance(ctx, a.rec, changed, change)
	if err == nil {
		a.rec = rec
		return nil
	}
	if !errors.Is(err, bus.ErrStale) {
		return job.InfrastructureError(job.CodeBus, "record the job", err)
	}
	return a.adopt(ctx)
}

// lost turns a stale record into the cause of it.
func (a *Attempt) lost(ctx context.Context, err error) error {
	if err == nil || !errors.Is(err, bus.ErrStale) {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.adopt(ctx)
}

// adopt reads the record that is there instead of ours and returns what that means; a.mu is held.
func (a *Attempt) adopt(ctx context.Context) error {
	now, err := a.runner.Bus.Job(ctx, a.rec.Job.GetId())
	if err != nil {
		return job.InfrastructureError(job.CodeBus, "read the job", err)
	}
	if now.Revision == a.rec.Revision {
		return nil
	}
	return a.adoptRecord(now)
}

// over returns why the attempt has ended, or nil.
func (a *Attempt) over() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ended
}

// compare looks at a record that was just read and ends the attempt if somebody else wrote it.
func (a *Attempt) compare(now bus.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Revision > a.rec.Revision { // else equal, or read before our own last change
		_ = a.adoptRecord(now) // the context tells
	}
}

func (a *Attempt) adoptRecord(now bus.Record) error {
	switch job.State(now.Job.GetState()) {
	case job.StateCancelling:
		a.rec, a.ended = now, ErrCancelled
	case job.StatePaused:
		a.rec, a.ended = now, ErrPaused
	default:
		a.ended = ErrLost
	}
	if a.cancel != nil {
		a.cancel(a.ended)
	}
	return a.ended
}
