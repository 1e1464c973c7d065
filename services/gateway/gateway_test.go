package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/embedded/servertest"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// newGateway returns a gateway over real servers; it does not run.
func newGateway(t *testing.T) *Gateway {
	t.Helper()
	minio, nats := servertest.StartMinIO(t), servertest.StartNATS(t)
	store := blob.Defaults()
	store.Endpoint, store.AccessKey, store.SecretKey = minio.Endpoint, minio.AccessKey, lifecycle.NewSecret(minio.SecretKey)
	objects, err := blob.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	wire := bus.Defaults()
	wire.URL = nats.URL
	b, err := bus.Connect(t.Context(), wire, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	cfg := Defaults()
	cfg.WorkDir = t.TempDir()
	g, err := New(cfg, Deps{
		Bus: b, Objects: objects, Registry: registry.New(objects, b.Registry()), Bucket: store.Bucket, Version: "0.0.0",
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGateway(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	ctx := t.Context()
	b := g.deps.Bus
	admit := func(t *testing.T, request map[string]any) bus.Record {
		t.Helper()
		data, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		rec, _, err := g.admit(ctx, data)
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	state := func(t *testing.T, id string) string {
		t.Helper()
		rec, err := b.Job(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return rec.Job.GetState()
	}
	set := func(t *testing.T, rec bus.Record, to job.State) bus.Record {
		t.Helper()
		changed := bus.Clone(rec.Job)
		changed.State = string(to)
		rec, err := b.Advance(ctx, rec, changed, bus.Change{})
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}

	t.Run("datasets are pinned", func(t *testing.T) {
		if err := g.deps.Objects.Put(ctx, "team/rows.jsonl", strings.NewReader("{}"), 2); err != nil {
			t.Fatal(err)
		}
		rows := []any{map[string]string{"instruction": "a", "output": "b"}}
		for name, tt := range map[string]struct {
			request map[string]any
			ref     string
			digest  string
		}{
			"object":             {map[string]any{"dataset": "s3://team/rows.jsonl"}, "s3://team/rows.jsonl", "etag:"},
			"object with bucket": {map[string]any{"dataset": "s3://" + g.deps.Bucket + "/team/rows.jsonl"}, "s3://team/rows.jsonl", "etag:"},
			"inline rows":        {map[string]any{"rows": rows}, "sha256:", "sha256:"},
			"sample":             {map[string]any{"dataset": "builtin:sample"}, "builtin:sample", "sha256:"},
		} {
			tt.request["model"] = "m"
			spec, err := job.ParseSpec(admit(t, tt.request).Job.GetSpec())
			if err != nil || !strings.HasPrefix(spec.Dataset, tt.ref) || !strings.HasPrefix(spec.DatasetDigest, tt.digest) {
				t.Errorf("%s: spec = %v, %v", name, spec, err)
			}
		}
		for ref, want := range map[string]string{
			"s3://team/nothing.jsonl": "there is no dataset", "builtin:samples": "builtin:sample", "sha256:12": "64 lower-case hex digits",
			"sha256:" + strings.Repeat("0", 64): "there is no dataset", "../etc/passwd": "neither a name",
		} {
			_, _, err := g.admit(ctx, []byte(`{"model":"m","dataset":"`+ref+`"}`))
			if classed := job.AsError("", err); classed == nil || classed.Class != job.User || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", ref, err, want)
			}
		}
	})

	t.Run("control", func(t *testing.T) {
		rec := admit(t, map[string]any{"model": "m", "dataset": "builtin:sample", "name": "controlled"})
		id := rec.Job.GetId()
		refuse := func(action, want string) {
			t.Helper()
			if _, err := g.control(ctx, id, action, ""); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of a job that is %s: %v, want %q", action, state(t, id), err, want)
			}
		}
		accept := func(action string, want job.State) {
			t.Helper()
			if rec, err := g.control(ctx, id, action, "because"); err != nil || rec.Job.GetState() != string(want) {
				t.Errorf("%s: %v, %v; want %s", action, rec.Job, err, want)
			}
		}
		refuse("explode", "is not known")
		refuse("pause", "cannot be paused")
		refuse("resume", "only a paused job")
		lease, err := b.Acquire(ctx, bus.JobLease(id), "somebody")
		if err != nil {
			t.Fatal(err)
		}
		accept("cancel", job.StateCancelling)
		accept("cancel", job.StateCancelling) // again changes nothing
		if err := lease.Release(ctx); err != nil {
			t.Fatal(err)
		}
		if err := g.round(ctx, time.Now()); err != nil || state(t, id) != "cancelled" {
			t.Errorf("after its worker has died the job is %s, %v", state(t, id), err)
		}
		refuse("pause", "cannot be paused")
		// Without a worker there is nobody to wait for.
		rec = admit(t, map[string]any{"model": "m", "dataset": "builtin:sample", "name": "controlled"})
		if rec.Job.GetState() != "received" {
			t.Fatalf("sent again the job is %s", rec.Job.GetState())
		}
		set(t, rec, job.StateQueued)
		accept("pause", job.StatePaused)
		accept("resume", job.StateQueued)
		accept("cancel", job.StateCancelled)
		if _, err := g.control(ctx, "ft-unknown", "cancel", ""); err == nil || !strings.Contains(err.Error(), "there is no job") {
			t.Errorf("an unknown job: %v", err)
		}
	})

	t.Run("lost work is queued again, once", func(t *testing.T) {
		spec := job.NewSpec(job.NewRequest(), "d", "sha256:aa", nil)
		first, err := b.CreateJob(ctx, &pb.Job{Id: spec.ID(), Spec: spec.Canonical(), State: string(job.StateQueued)}, bus.Change{})
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Duration{0, 2 * g.cfg.Grace, 3 * g.cfg.Grace} {
			if err := g.round(ctx, time.Now().Add(at)); err != nil {
				t.Fatal(err)
			}
		}
		taking, stop := context.WithTimeout(ctx, 20*time.Second)
		defer stop()
		got := 0
		if err := b.Work(taking, bus.StageTrain, bus.Options{}, func(_ context.Context, task *bus.Task) error {
			if task.Work.GetJob() == first.Job.GetId() {
				got++
				stop()
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if got != 1 {
			t.Errorf("the work was taken %d times", got)
		}
		if g.queued[first.Job.GetId()] != first.Revision {
			t.Error("the reconciler forgot that it has queued the work")
		}
	})

	t.Run("how far a job is", func(t *testing.T) {
		rec := set(t, set(t, set(t, admit(t, map[string]any{"model": "m", "dataset": "builtin:sample", "name": "moving"}), job.StateValidating), job.StateTokenizing), job.StateQueued)
		id := rec.Job.GetId()
		old := &pb.Event{Type: bus.EventStep, Step: &pb.Step{Step: 9, Total: 9}} // of an earlier run
		if err := b.Emit(ctx, rec, old); err != nil {
			t.Fatal(err)
		}
		changed := bus.Clone(rec.Job)
		changed.State, changed.StartedAt, changed.Progress = string(job.StateTraining), bus.Timestamp(time.Now()), &pb.Step{Step: 2, Total: 9}
		rec, err := b.Advance(ctx, rec, changed, bus.Change{})
		if err != nil {
			t.Fatal(err)
		}
		told := func(step uint32, evaluation float64) {
			t.Helper()
			listed, err := g.list(ctx, &pb.ListJobsRequest{Limit: 1})
			if err != nil || len(listed.GetJobs()) != 1 {
				t.Fatalf("list: %v, %v", listed, err)
			}
			got, err := g.get(ctx, &pb.GetJobRequest{Id: id})
			if err != nil {
				t.Fatal(err)
			}
			for name, view := range map[string]*pb.JobView{"list": listed.GetJobs()[0], "get": got} {
				if view.GetId() != id || view.GetProgress().GetStep() != step || view.GetEvaluation().GetLoss() != evaluation {
					t.Errorf("%s tells %v, want step %d and evaluation %v", name, view, step, evaluation)
				}
			}
		}
		told(2, 0)
		for _, event := range []*pb.Event{{Type: bus.EventStep, Step: &pb.Step{Step: 5, Total: 9}}, {Type: bus.EventEval, Evaluation: &pb.Evaluation{Step: 5, Loss: 1.5}}} {
			if err := b.Emit(ctx, rec, event); err != nil {
				t.Fatal(err)
			}
		}
		told(5, 1.5)
		if view, err := g.act(ctx, id, "pause", ""); err != nil || view.GetState() != "paused" || view.GetProgress().GetStep() != 5 {
			t.Errorf("pause answers %v, %v; want step 5", view, err)
		}
	})

	t.Run("find by a beginning", func(t *testing.T) {
		id := admit(t, map[string]any{"model": "m", "dataset": "builtin:sample", "name": "findable"}).Job.GetId()
		if rec, err := g.find(ctx, id[:12]); err != nil || rec.Job.GetId() != id {
			t.Errorf("found %v, %v", rec.Job, err)
		}
		if _, err := g.find(ctx, "ft-"); err == nil {
			t.Error("three letters are enough to find a job")
		}
	})
}
