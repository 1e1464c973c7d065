package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"descant/pkg/bus"
	"descant/pkg/job"
)

// revive wakes the jobs at which an earlier process of this name was working when it was killed. Elsewhere they would
// wait until their worker has been silent for long enough; here the data folder's lock says that it is dead.
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
		id, stage := rec.Job.GetId(), job.State(rec.Job.GetState()).Stage()
		if stage == "" {
			continue
		}
		owner, err := s.bus.LeaseOwner(ctx, bus.JobLease(id))
		if errors.Is(err, bus.ErrNotFound) || err == nil && !slices.Contains(own, owner) {
			continue
		}
		if err != nil {
			return err
		}
		if err := s.reviveJob(ctx, rec, owner, string(stage)); err != nil {
			return fmt.Errorf("job %s, left by %s: %w", id, owner, err)
		}
		s.log.Info("a job is taken up that was left when its worker was killed", "job", id)
	}
	return nil
}

func (s *system) reviveJob(ctx context.Context, rec bus.Record, owner, stage string) error {
	lease, err := s.bus.Acquire(ctx, bus.JobLease(rec.Job.GetId()), owner)
	if err != nil {
		return err
	}
	if err := lease.Release(ctx); err != nil {
		return err
	}
	// The first message will come again, too; it finds the job in other hands, or done.
	return s.bus.Enqueue(ctx, rec, stage)
}
