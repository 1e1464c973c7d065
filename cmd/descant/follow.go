package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// follow shows what happens to a job, from the events of epoch `since` on, until it ends, and returns its
// last record.
func follow(ctx context.Context, b *bus.Bus, id string, since uint64, show progress) (*pb.Job, error) {
	rec, err := b.Job(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("follow job %s: %w", id, err)
	}
	if job.State(rec.Job.GetState()).Final() && rec.Job.GetEpoch() <= since {
		return rec.Job, nil // it had ended before
	}
	for event, err := range b.Follow(ctx, id, bus.FollowOptions{}) {
		if err != nil {
			return nil, fmt.Errorf("follow job %s: %w", id, err)
		}
		if event.GetEpoch() < since {
			continue
		}
		show.event(event)
		if event.GetType() != bus.EventState || !job.State(event.GetState()).Final() {
			continue
		}
		// A job that failed may have been sent again: the record knows.
		rec, err := b.Job(ctx, id)
		if err != nil {
			return nil, fmt.Errorf("follow job %s: %w", id, err)
		}
		if job.State(rec.Job.GetState()).Final() {
			return rec.Job, nil
		}
	}
	return nil, context.Cause(ctx)
}

// outcome turns the end of a job into an error, or nil for success.
func outcome(j *pb.Job) error {
	switch job.State(j.GetState()) {
	case job.StateSucceeded:
		return nil
	case job.StateCancelled:
		return fmt.Errorf("job %s was cancelled", j.GetId())
	}
	if e := job.FromProto(j.GetError()); e != nil {
		return e
	}
	return fmt.Errorf("job %s ended as %s", j.GetId(), j.GetState())
}

// submit sends a request to the gateway and returns the job that it became. A gateway that starts at this
// moment is waited for.
func submit(ctx context.Context, b *bus.Bus, request []byte, patience time.Duration) (*pb.JobView, error) {
	deadline := time.Now().Add(patience)
	for {
		var view pb.JobView
		err := b.CallRaw(ctx, "finetune.jobs.create", request, &view)
		if err == nil {
			return &view, nil
		}
		if !errors.Is(err, bus.ErrNoResponders) || time.Now().After(deadline) {
			return nil, gatewayError(err)
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// gatewayError says what to do when nobody answers.
func gatewayError(err error) error {
	if errors.Is(err, bus.ErrNoResponders) {
		return errors.New("no gateway answers: start one with `descant up` or `descant gateway`, and check --bus-url")
	}
	return err
}
