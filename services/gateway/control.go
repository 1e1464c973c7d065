package gateway

import (
	"context"
	"errors"
	"fmt"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// controls applies what people publish on finetune.control.<job>, until ctx ends. One gateway of
// several gets each message.
func (g *Gateway) controls(ctx context.Context) error {
	wishes, err := g.deps.Bus.Controls(ctx, "*", "gateway")
	if err != nil {
		return err
	}
	for wish := range wishes {
		if _, err := g.control(ctx, wish.Job, wish.Action, wish.Reason); err != nil {
			g.refuseControl(ctx, wish, err)
		}
	}
	return nil
}

// refuseControl tells those who follow the job why a wish was not granted, as nobody waits for a
// reply.
func (g *Gateway) refuseControl(ctx context.Context, wish bus.Control, why error) {
	g.log.Warn("control refused", "job", wish.Job, "action", wish.Action, "error", why)
	rec, err := g.deps.Bus.Job(ctx, wish.Job)
	if err != nil {
		return // there is no job whose followers could be told
	}
	event := &pb.Event{Type: bus.EventLog, Level: "warn", Message: fmt.Sprintf("%s refused: %v", wish.Action, why)}
	if err := g.deps.Bus.Emit(ctx, rec, event); err != nil && !errors.Is(err, bus.ErrStale) {
		g.log.Warn("cannot tell that a control was refused", "job", wish.Job, "error", err)
	}
}

// control applies an action to a job and returns the record afterwards. Its worker, if there is one,
// sees the changed record and does its part.
func (g *Gateway) control(ctx context.Context, id, action, reason string) (bus.Record, error) {
	for {
		rec, err := g.deps.Bus.Job(ctx, id)
		if errors.Is(err, bus.ErrNotFound) {
			return rec, job.UserError(job.CodeNotFound, fmt.Sprintf("there is no job %q", id), "`descant jobs list` shows the jobs")
		}
		if err != nil {
			return rec, job.InfrastructureError(job.CodeBus, "read job "+id, err)
		}
		to, err := g.target(ctx, rec, action)
		if err != nil {
			return rec, err
		}
		if to == job.State(rec.Job.GetState()) {
			return rec, nil
		}
		changed := bus.Clone(rec.Job)
		changed.State = string(to)
		change := bus.Change{Events: []*pb.Event{{Type: bus.EventState, Message: wishText(action, reason)}}}
		if action == "resume" {
			changed.Attempts = 0
			change.Stage = string(to.Stage())
		}
		if to.Final() {
			changed.FinishedAt = now()
		}
		rec, err = g.deps.Bus.Advance(ctx, rec, changed, change)
		if err == nil {
			g.log.Info("job controlled", "job", id, "action", action, "state", to)
			return rec, nil
		}
		if !errors.Is(err, bus.ErrStale) {
			return rec, job.InfrastructureError(job.CodeBus, action+" job "+id, err)
		}
	}
}

// target returns the state to which an action brings a job; the state that it has means that there
// is nothing to do.
func (g *Gateway) target(ctx context.Context, rec bus.Record, action string) (job.State, error) {
	state := job.State(rec.Job.GetState())
	var to job.State
	switch action {
	case "cancel":
		if state == job.StateCancelling || state == job.StateCancelled {
			return state, nil
		}
		to = job.StateCancelling
		if working, err := g.hasWorker(ctx, rec.Job.GetId()); err != nil {
			return "", err
		} else if !working && state.CanGo(job.StateCancelled) {
			to = job.StateCancelled
		}
	case "pause":
		if to = job.StatePaused; state == to {
			return state, nil
		}
	case "resume":
		if state != job.StatePaused {
			return "", job.UserError(job.CodeConflict, fmt.Sprintf("job %s is %s, only a paused job can be resumed", rec.Job.GetId(), state), "`descant jobs show "+rec.Job.GetId()+"` tells how it stands")
		}
		to = job.StateQueued
	default:
		return "", job.UserError(job.CodeBadRequest, fmt.Sprintf("action %q is not known", action), `use cancel, pause or resume: {"action":"cancel"}`)
	}
	if !state.CanGo(to) {
		return "", job.UserError(job.CodeConflict, fmt.Sprintf("job %s is %s and cannot be %s", rec.Job.GetId(), state, past(action)), "`descant jobs show "+rec.Job.GetId()+"` tells how it stands")
	}
	return to, nil
}

func past(action string) string {
	if action == "cancel" {
		return "cancelled"
	}
	return action + "d" // paused, resumed
}

func wishText(action, reason string) string {
	if reason == "" {
		return past(action) + " on request"
	}
	return past(action) + " on request: " + reason
}

// hasWorker tells whether a worker holds the job's lease.
func (g *Gateway) hasWorker(ctx context.Context, id string) (bool, error) {
	_, err := g.deps.Bus.LeaseOwner(ctx, bus.JobLease(id))
	if errors.Is(err, bus.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, job.InfrastructureError(job.CodeBus, "look up the worker of job "+id, err)
	}
	return true, nil
}
