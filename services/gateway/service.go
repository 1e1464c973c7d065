package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

const defaultListLimit = 100

// jobs is the micro service for jobs, in JSON.
func (g *Gateway) jobs() bus.Service {
	return bus.Service{
		Name: "finetune-jobs", Version: g.deps.Version, Description: "fine-tuning jobs: create, get, list, cancel, pause, resume",
		Methods: []bus.Method{
			bus.RawMethod("finetune.jobs.create", func(ctx context.Context, data []byte) (*pb.JobView, error) {
				rec, _, err := g.admit(ctx, data)
				return view(rec, err)
			}),
			bus.NewMethod("finetune.jobs.get", g.get),
			bus.NewMethod("finetune.jobs.list", g.list),
			g.controlMethod("cancel"), g.controlMethod("pause"), g.controlMethod("resume"),
		},
	}
}

// get finds a job and how far it is.
func (g *Gateway) get(ctx context.Context, req *pb.GetJobRequest) (*pb.JobView, error) {
	rec, err := g.find(ctx, req.GetId())
	if err == nil {
		g.deps.Bus.Renew(ctx, rec.Job)
	}
	return view(rec, err)
}

// act does something with a job, and tells how far it is.
func (g *Gateway) act(ctx context.Context, id, action, reason string) (*pb.JobView, error) {
	rec, err := g.find(ctx, id)
	if err == nil {
		rec, err = g.control(ctx, rec.Job.GetId(), action, reason)
	}
	if err == nil {
		g.deps.Bus.Renew(ctx, rec.Job)
	}
	return view(rec, err)
}

func (g *Gateway) controlMethod(action string) bus.Method {
	return bus.NewMethod("finetune.jobs."+action, func(ctx context.Context, req *pb.CancelJobRequest) (*pb.JobView, error) {
		return g.act(ctx, req.GetId(), action, req.GetReason())
	})
}

// adapters is the micro service for published adapters, in JSON.
func (g *Gateway) adapters() bus.Service {
	return bus.Service{
		Name: "adapters", Version: g.deps.Version, Description: "published adapters: list, get, promote, rollback, move an alias, pin, unpin, load and unload under another name",
		Methods: []bus.Method{
			bus.NewMethod("adapters.list", g.listAdapters),
			bus.NewMethod("adapters.get", g.adapter),
			bus.NewMethod("adapters.alias", func(ctx context.Context, req *pb.SetAliasRequest) (*pb.AdapterEntry, error) {
				entry, err := g.deps.Registry.SetAlias(ctx, req.GetName(), req.GetAlias(), req.GetVersion())
				return entry, refused(err)
			}),
			bus.NewMethod("adapters.delete", func(ctx context.Context, req *pb.DeleteAdapterRequest) (*pb.AdapterEntry, error) {
				entry, err := g.deps.Registry.Delete(ctx, req.GetRef(), time.Now())
				return entry, refused(err)
			}),
			bus.NewMethod("adapters.promote", g.promote),
			bus.NewMethod("adapters.rollback", g.rollback),
			bus.NewMethod("adapters.pin", g.pinAdapter),
			bus.NewMethod("adapters.unpin", g.unpinAdapter),
			bus.NewMethod("adapters.load", g.load),
			bus.NewMethod("adapters.unload", g.unload),
		},
	}
}

func (g *Gateway) listAdapters(ctx context.Context, _ *pb.ListAdaptersRequest) (*pb.ListAdaptersResponse, error) {
	all, err := g.deps.Registry.List(ctx)
	return &pb.ListAdaptersResponse{Adapters: all}, refused(err)
}

// adapter finds a version with its lineage, and how far it is on the workers.
func (g *Gateway) adapter(ctx context.Context, req *pb.GetAdapterRequest) (*pb.GetAdapterResponse, error) {
	found, err := g.deps.Registry.Resolve(ctx, req.GetRef())
	if err != nil {
		return nil, refused(err)
	}
	manifest, err := g.deps.Registry.Manifest(ctx, found.Version)
	if err != nil {
		return nil, refused(err)
	}
	workers, err := g.workersOf(ctx, found.Version.GetDigest())
	return &pb.GetAdapterResponse{Name: found.Name, Version: found.Version, Manifest: manifest, Workers: workers}, refused(err)
}

// rollback ends a split of an alias, or undoes its last move.
func (g *Gateway) rollback(ctx context.Context, req *pb.RollbackRequest) (*pb.AdapterEntry, error) {
	entry, err := g.deps.Registry.Rollback(ctx, req.GetName(), cmp.Or(req.GetAlias(), registry.Prod))
	return entry, refused(err)
}

// pinAdapter has an adapter stay in the slots of all workers.
func (g *Gateway) pinAdapter(ctx context.Context, req *pb.PinRequest) (*pb.AdapterEntry, error) {
	entry, err := g.deps.Registry.Pin(ctx, req.GetRef())
	return entry, refused(err)
}

// unpinAdapter leaves it to its use again.
func (g *Gateway) unpinAdapter(ctx context.Context, req *pb.PinRequest) (*pb.AdapterEntry, error) {
	entry, err := g.deps.Registry.Unpin(ctx, req.GetRef())
	return entry, refused(err)
}

// promote moves an alias, or splits it.
func (g *Gateway) promote(ctx context.Context, req *pb.PromoteRequest) (*pb.AdapterEntry, error) {
	share := uint32(registry.Whole)
	if req.Weight != nil {
		hundredths := req.GetWeight() * 100
		// What rounds to none or to more than all is refused by the registry, which knows the alias.
		share = uint32(math.Round(min(max(hundredths, 0), registry.Whole+1)))
		if math.IsNaN(hundredths) {
			share = 0
		}
	}
	entry, err := g.deps.Registry.Promote(ctx, req.GetRef(), cmp.Or(req.GetAlias(), registry.Prod), share)
	return entry, refused(err)
}

func (g *Gateway) list(ctx context.Context, req *pb.ListJobsRequest) (*pb.ListJobsResponse, error) {
	if state := job.State(req.GetState()); state != "" && !slices.Contains(job.States(), state) {
		return nil, refused(job.UserError(job.CodeBadRequest, fmt.Sprintf("state %q is not one", state), fmt.Sprintf("use one of %v", job.States())))
	}
	all, err := g.deps.Bus.Jobs(ctx)
	if err != nil {
		return nil, refused(job.InfrastructureError(job.CodeBus, "list jobs", err))
	}
	slices.SortFunc(all, func(a, b bus.Record) int {
		return cmp.Or(b.Job.GetCreatedAt().AsTime().Compare(a.Job.GetCreatedAt().AsTime()), strings.Compare(a.Job.GetId(), b.Job.GetId()))
	})
	limit := int(req.GetLimit())
	if limit == 0 {
		limit = defaultListLimit
	}
	if after := req.GetAfter(); after != "" {
		i := slices.IndexFunc(all, func(rec bus.Record) bool { return rec.Job.GetId() == after })
		if i < 0 {
			return nil, refused(job.UserError(job.CodeNotFound, fmt.Sprintf("there is no job %q to go on after", after), "begin with the newest",
				job.Problem{Field: "after", Found: after, Reason: "is no job"}))
		}
		all = all[i+1:]
	}
	reply := new(pb.ListJobsResponse)
	for _, rec := range all {
		if req.GetState() != "" && rec.Job.GetState() != req.GetState() || !hasAll(rec.Job.GetMetadata(), req.GetMetadata()) {
			continue
		}
		if len(reply.Jobs) == limit {
			reply.HasMore = true
			break
		}
		if !job.State(rec.Job.GetState()).Final() { // of the others the record knows the end
			g.deps.Bus.Renew(ctx, rec.Job)
		}
		one, err := view(rec, nil)
		if err != nil {
			return nil, err
		}
		reply.Jobs = append(reply.Jobs, one)
	}
	return reply, nil
}

func hasAll(have, wanted map[string]string) bool {
	for name, value := range wanted {
		if got, ok := have[name]; !ok || got != value {
			return false
		}
	}
	return true
}

// find reads a job by its id or by a beginning of it that only one job has.
func (g *Gateway) find(ctx context.Context, id string) (bus.Record, error) {
	rec, err := g.deps.Bus.Job(ctx, id)
	if err == nil {
		return rec, nil
	}
	if !errors.Is(err, bus.ErrNotFound) {
		return rec, job.InfrastructureError(job.CodeBus, "read job "+id, err)
	}
	all, err := g.deps.Bus.Jobs(ctx)
	if err != nil {
		return rec, job.InfrastructureError(job.CodeBus, "list jobs", err)
	}
	var matches []bus.Record
	for _, one := range all {
		if len(id) >= 4 && strings.HasPrefix(one.Job.GetId(), id) {
			matches = append(matches, one)
		}
	}
	switch len(matches) {
	case 1:
		return matches[0], nil
	case 0:
		return rec, job.UserError(job.CodeNotFound, fmt.Sprintf("there is no job %q", id), "`descant jobs list` shows the jobs")
	}
	return rec, job.UserError(job.CodeNotFound, fmt.Sprintf("%d jobs begin with %q", len(matches), id), "give more of the id")
}

// view is a record as people see it.
func view(rec bus.Record, err error) (*pb.JobView, error) {
	if err != nil {
		return nil, refused(err)
	}
	spec, err := bus.Object(rec.Job.GetSpec())
	if err != nil {
		return nil, refused(job.BugError("read the job's spec", err))
	}
	j := rec.Job
	return &pb.JobView{
		Id: j.GetId(), Name: j.GetName(), State: j.GetState(), Spec: spec, Epoch: j.GetEpoch(), Attempts: j.GetAttempts(),
		Error: j.GetError(), Progress: j.GetProgress(), Artifacts: j.GetArtifacts(), CreatedAt: j.GetCreatedAt(),
		UpdatedAt: j.GetUpdatedAt(), StartedAt: j.GetStartedAt(), FinishedAt: j.GetFinishedAt(), Warnings: j.GetWarnings(),
		Evaluation: j.GetEvaluation(), Checkpoint: newest(j), Dataset: j.GetDataset(), EvalDataset: j.GetEvalDataset(), Metadata: j.GetMetadata(),
	}, nil
}

// newest is the newest checkpoint of a job, or nil. Records of older versions hold nothing but its key.
func newest(j *pb.Job) *pb.Checkpoint {
	key, info := j.GetCheckpoint(), j.GetCheckpointInfo()
	switch key {
	case "":
		return nil
	case info.GetKey():
		return info
	}
	return &pb.Checkpoint{Key: key}
}

// refused gives an error the form in which it travels.
func refused(err error) error {
	if err == nil {
		return nil
	}
	return bus.Fail(job.AsError("answer the request", err).Proto())
}
