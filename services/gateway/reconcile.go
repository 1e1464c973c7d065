package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// reconcile looks through all jobs from time to time. Messages normally carry a job on; this finds
// what no message will wake: work that was lost, a cancel whose worker has died.
func (g *Gateway) reconcile(ctx context.Context) error {
	ticker := time.NewTicker(g.cfg.Reconcile)
	defer ticker.Stop()
	for {
		if err := g.round(ctx, time.Now()); err != nil && ctx.Err() == nil {
			g.log.Warn("reconciling failed, will be tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (g *Gateway) round(ctx context.Context, at time.Time) error {
	all, err := g.deps.Bus.Jobs(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for _, rec := range all {
		if err := g.mend(ctx, rec, at); err != nil && !errors.Is(err, bus.ErrStale) {
			failed = append(failed, fmt.Errorf("job %s: %w", rec.Job.GetId(), err))
		}
	}
	return errors.Join(failed...)
}

// mend gives one job what it lacks.
func (g *Gateway) mend(ctx context.Context, rec bus.Record, at time.Time) error {
	id, state := rec.Job.GetId(), job.State(rec.Job.GetState())
	if state.Final() || state == job.StatePaused {
		delete(g.queued, id)
		return nil
	}
	if working, err := g.hasWorker(ctx, id); err != nil || working {
		return err
	}
	if state == job.StateCancelling {
		changed := bus.Clone(rec.Job)
		changed.State, changed.FinishedAt = string(job.StateCancelled), now()
		_, err := g.deps.Bus.Advance(ctx, rec, changed, bus.Change{Events: []*pb.Event{{Type: bus.EventState, Message: "cancelled, its worker is gone"}}})
		return err
	}
	waiting := at.Sub(rec.Job.GetUpdatedAt().AsTime())
	if waiting < g.cfg.Grace || g.queued[id] == rec.Revision {
		return nil
	}
	if err := g.deps.Bus.Enqueue(ctx, rec, string(state.Stage())); err != nil {
		return err
	}
	g.queued[id] = rec.Revision
	g.log.Warn("job had no worker, its work is queued again", "job", id, "state", state, "waiting", waiting.Round(time.Second))
	return nil
}

func now() *timestamppb.Timestamp { return bus.Timestamp(time.Now()) }
