package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"descant/pkg/bus"
	"descant/pkg/job"
)

// revive queues the work of every job again that is not in the hands of another process. When the process before this one
// was killed, or had its servers stop with it, its messages count as delivered until their AckWait is over; here the data
// folder's lock says that it is dead. A message too many is dropped by the worker that takes it.
func (s *system) revive(ctx context.Context) error {
	all, err := s.bus.Jobs(ctx)
	if err != nil {
		return err
	}
	var own []string
	for _, kind := range serviceKinds() {
		own = append(own, s.cfg.workerName(kind))
	}
	for _, rec := range all {
		stage := job.State(rec.Job.GetState()).Stage()
		if stage == "" {
			continue
		}
		if err := s.reviveJob(ctx, rec, string(stage), own); err != nil {
			return fmt.Errorf("job %s: %w", rec.Job.GetId(), err)
		}
	}
	return nil
}

// reviveJob gives up the lease that a worker of one of the own names has left, and queues the work.
func (s *system) reviveJob(ctx context.Context, rec bus.Record, stage string, own []string) error {
	key := bus.JobLease(rec.Job.GetId())
	owner, err := s.bus.LeaseOwner(ctx, key)
	switch {
	case errors.Is(err, bus.ErrNotFound):
	case err != nil:
		return err
	case !slices.Contains(own, owner):
		return nil // a worker beside this process has it
	default:
		lease, err := s.bus.Acquire(ctx, key, owner)
		if err != nil {
			return err
		}
		if err := lease.Release(ctx); err != nil {
			return err
		}
	}
	s.log.Debug("work is queued again", "job", rec.Job.GetId(), "stage", stage)
	return s.bus.Enqueue(ctx, rec, stage)
}
