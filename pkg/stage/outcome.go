package stage

import (
	"context"
	"errors"
	"time"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/pkg/pb"
)

// settleTime is how long recording an outcome may take after everything else was cancelled.
const settleTime = 15 * time.Second

// settle records how the attempt ended and returns the outcome for its message.
func (r *Runner) settle(ctx context.Context, a *Attempt, task *bus.Task, cause, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	if err == nil {
		return nil
	}
	// What ended the attempt explains its error better than the error does.
	for _, known := range []error{ErrCancelled, ErrPaused, ErrStopping, ErrLost} {
		if errors.Is(err, known) || errors.Is(cause, known) {
			return r.ended(ctx, a, known)
		}
	}
	if errors.Is(cause, lifecycle.ErrGraceOver) || errors.Is(err, context.Canceled) {
		return r.ended(ctx, a, ErrStopping)
	}
	classed := job.AsError("the "+string(r.Stage)+" stage failed", err)
	switch classed.Class {
	case job.User:
		return a.fail(ctx, classed)
	case job.Infrastructure:
		a.log.Warn("attempt failed, will be tried again", "error", err)
		if err := a.giveBack(ctx, classed); err != nil {
			return err
		}
		return bus.Retry(err, retryDelay(task.Delivered))
	}
	a.log.Error("attempt failed", "error", err, "trace", a.trace)
	return err
}

// ended settles an attempt that somebody ended from outside.
func (r *Runner) ended(ctx context.Context, a *Attempt, why error) error {
	switch {
	case errors.Is(why, ErrCancelled):
		return a.cancelled(ctx)
	case errors.Is(why, ErrPaused):
		a.log.Info("job paused")
		return nil
	case errors.Is(why, ErrStopping):
		if err := a.giveBack(ctx, nil); err != nil {
			return err
		}
		return bus.Release()
	}
	a.log.Info("job left to the worker that took it over")
	return nil
}

// cancelled moves a job from cancelling to cancelled.
func (a *Attempt) cancelled(ctx context.Context) error {
	a.mu.Lock()
	a.ended = nil
	a.mu.Unlock()
	return unlessLost(a.Move(ctx, job.StateCancelled, "cancelled", nil))
}

// giveBack takes the attempt off the count, as it was not the job's fault, and lets a training job
// wait for a worker again.
func (a *Attempt) giveBack(ctx context.Context, why *job.Error) error {
	state := job.State(a.Job().GetState())
	message := "handed back, another worker goes on"
	if why != nil {
		message = why.Message + "; will be tried again"
	}
	edit := func(j *pb.Job) {
		if j.Attempts > 0 {
			j.Attempts--
		}
	}
	if state == job.StateTraining || state == job.StatePublishing {
		return unlessLost(a.Move(ctx, job.StateQueued, message, edit))
	}
	return unlessLost(a.Update(ctx, message, edit))
}

// fail moves the job to failed.
func (a *Attempt) fail(ctx context.Context, why *job.Error) error {
	a.log.Info("job failed", "class", why.Class, "code", why.Code, "error", why.Error())
	return unlessLost(a.change(ctx, failure(why), func(j *pb.Job) { failed(j, why, a.trace) }))
}

func failure(why *job.Error) bus.Change {
	return bus.Change{Events: []*pb.Event{{Type: bus.EventState, State: string(job.StateFailed), Message: why.Message, Error: why.Proto()}}}
}

func failed(j *pb.Job, why *job.Error, trace string) {
	j.State = string(job.StateFailed)
	j.Error = why.Proto()
	j.Error.Trace = trace
	j.FinishedAt = bus.Timestamp(time.Now())
}

// gaveUp marks a job whose work becomes a dead letter.
func (r *Runner) gaveUp(ctx context.Context, id string, err error) error {
	rec, readErr := r.Bus.Job(ctx, id)
	if errors.Is(readErr, bus.ErrNotFound) {
		return nil
	}
	if readErr != nil {
		return readErr
	}
	if job.State(rec.Job.GetState()).Final() {
		return nil
	}
	why := job.AsError("the "+string(r.Stage)+" stage failed", err)
	changed := bus.Clone(rec.Job)
	failed(changed, why, "")
	_, err = r.Bus.Advance(ctx, rec, changed, failure(why))
	return err
}

// unlessLost drops the error of a job that belongs to somebody else now: there is nothing to do.
func unlessLost(err error) error {
	if errors.Is(err, ErrLost) || errors.Is(err, ErrCancelled) || errors.Is(err, ErrPaused) {
		return nil
	}
	return err
}

// retryDelay is 1 s, 2 s, 4 s … up to a minute.
func retryDelay(delivered uint64) time.Duration {
	return min(time.Second<<min(delivered-min(delivered, 1), 6), time.Minute)
}
