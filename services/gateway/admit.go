package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// intake handles one message of finetune.request. A bad request is answered by an event, as nobody
// waits for a reply.
func (g *Gateway) intake(ctx context.Context, request bus.Request) error {
	rec, fresh, err := g.admit(ctx, request.Data)
	if err == nil {
		if !fresh {
			return g.sentAgain(ctx, rec)
		}
		return nil
	}
	classed := job.AsError("take the request", err)
	if classed.Class == job.Infrastructure {
		return bus.Retry(err, time.Second<<min(request.Delivered, 5))
	}
	if classed.Class == job.Bug {
		return err
	}
	id := rejectionID(request.Data)
	g.log.Info("request rejected", "id", id, "code", classed.Code, "error", classed.Error())
	return g.deps.Bus.Reject(ctx, id, classed.Proto())
}

// rejectionID is the token of a rejected request: the same request is the same rejection.
func rejectionID(data []byte) string {
	return "rejected-" + strings.TrimPrefix(blob.Digest(data), "sha256:")[:20]
}

// sentAgain tells those who follow a job that the same request came once more.
func (g *Gateway) sentAgain(ctx context.Context, rec bus.Record) error {
	event := &pb.Event{Type: bus.EventLog, Level: "info", Message: "the same request came again: it is this job, now " + rec.Job.GetState()}
	if err := g.deps.Bus.Emit(ctx, rec, event); err != nil && !errors.Is(err, bus.ErrStale) {
		return err
	}
	return nil
}

// admit makes a job of a request, or finds the job that the request already is. A job that failed or
// was cancelled starts anew. fresh tells whether there is new work.
func (g *Gateway) admit(ctx context.Context, data []byte) (rec bus.Record, fresh bool, err error) {
	request, problems := job.ParseRequest(data)
	if len(problems) > 0 {
		return rec, false, job.UserError(job.CodeBadRequest, "the request cannot be used: "+countProblems(len(problems)), "correct it and send it again", problems...)
	}
	if request.InitFrom, err = g.pinParent(ctx, request.InitFrom); err != nil {
		return rec, false, err
	}
	spec, err := g.spec(ctx, request)
	if err != nil {
		return rec, false, err
	}
	first := &pb.Job{Id: spec.ID(), Spec: spec.Canonical(), State: string(job.StateReceived), Name: spec.Name, Artifacts: &pb.Artifacts{},
		Dataset: request.Dataset, EvalDataset: request.EvalDataset, Metadata: request.Metadata}
	change := bus.Change{
		Events: []*pb.Event{{Type: bus.EventState, Message: fmt.Sprintf("received: adapter %s on %s from %s", spec.Name, spec.Model, spec.Dataset)}},
		Stage:  string(job.StageTokenize),
	}
	// Who listens with a plain subscription sees even the events that the stream refuses, so the common
	// case of a known job is not left to the refusal.
	rec, err = g.deps.Bus.Job(ctx, spec.ID())
	if errors.Is(err, bus.ErrNotFound) {
		rec, err = g.deps.Bus.CreateJob(ctx, first, change)
		if err == nil {
			g.log.Info("job received", "job", spec.ID(), "name", spec.Name, "model", spec.Model, "dataset", spec.Dataset)
			return rec, true, nil
		}
	}
	if err != nil && !errors.Is(err, bus.ErrExists) {
		return rec, false, job.InfrastructureError(job.CodeBus, "store the job", err)
	}
	if !job.State(rec.Job.GetState()).CanGo(job.StateReceived) {
		return rec, false, nil
	}
	first.CreatedAt = rec.Job.GetCreatedAt()
	again, err := g.deps.Bus.Advance(ctx, rec, first, change)
	if errors.Is(err, bus.ErrStale) { // somebody else was quicker to do the same
		rec, err = g.deps.Bus.Job(ctx, spec.ID())
		return rec, false, err
	}
	if err != nil {
		return rec, false, job.InfrastructureError(job.CodeBus, "start the job anew", err)
	}
	g.log.Info("job starts anew", "job", spec.ID(), "was", rec.Job.GetState())
	return again, true, nil
}

func countProblems(n int) string {
	if n == 1 {
		return "1 problem"
	}
	return fmt.Sprintf("%d problems", n)
}
