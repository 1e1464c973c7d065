package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

func TestWorkerLoads(t *testing.T) {
	t.Parallel()
	at := func(second int64, prompt, output int64) *pb.WorkerAdvert {
		return &pb.WorkerAdvert{Id: "w", Ready: true, UpdatedAt: &timestamppb.Timestamp{Seconds: second},
			Bases:    []*pb.BaseAdvert{{Base: "base", Digest: "b", Rows: 8, FreeRows: 5, Waiting: 2, PromptTokens: prompt, OutputTokens: output}},
			Adapters: []*pb.AdapterState{{BaseDigest: "b", State: "ready"}, {BaseDigest: "b", State: "failed"}, {BaseDigest: "other", State: "ready"}}}
	}
	got := workerLoads(at(14, 300, 50), at(10, 100, 10))
	if len(got) != 1 || got[0].UsedRows != 3 || got[0].Waiting != 2 || got[0].Adapters != 1 || got[0].State != "ready" || *got[0].PromptRate != 50 || *got[0].OutputRate != 10 {
		t.Errorf("got %+v", got)
	}
	for name, before := range map[string]*pb.WorkerAdvert{"no look before": nil, "the same advert": at(14, 300, 50), "a base loaded anew": at(10, 400, 90)} {
		if got := workerLoads(at(14, 300, 50), before); got[0].PromptRate != nil || got[0].OutputRate != nil {
			t.Errorf("%s: rates %v and %v", name, *got[0].PromptRate, *got[0].OutputRate)
		}
	}
	if got := workerLoads(&pb.WorkerAdvert{Id: "w", Draining: true}, nil); len(got) != 1 || got[0].State != "draining" {
		t.Errorf("without a base: %+v", got)
	}
}

// TestTop is not parallel: see TestBadInputJob.
func TestTop(t *testing.T) {
	t.Chdir(".")
	s := startPipeline(t)
	// No trainer runs here: the job stays in the queue.
	view, err := submit(t.Context(), s.bus, []byte(`{"model":"`+badModel+`","dataset":"builtin:sample"}`), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	waitTokenized(t, s.bus, view)
	inTraining(t, s.bus, "trained-one", 2)
	advert := &pb.WorkerAdvert{Id: "w-1", Ready: true, Bases: []*pb.BaseAdvert{{Base: "some-base", Digest: "b", Rows: 8, FreeRows: 7}}}
	if err := s.bus.PutAdvert(t.Context(), advert); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	renewed := make(chan struct{})
	go func() { // as a worker does, since an advert expires
		defer close(renewed)
		for ticker := time.NewTicker(bus.AdvertRenewal / 3); ; {
			select {
			case <-ctx.Done():
				ticker.Stop()
				return
			case <-ticker.C:
				_ = s.bus.PutAdvert(ctx, advert) // one that is missing fails the test below
			}
		}
	}()
	code, out, problems := cli(t, nil, "top", "--once", "--json", "--bus-url", s.cfg.Bus.URL)
	cancel()
	<-renewed
	var now load
	if code != exitOK || json.Unmarshal([]byte(out), &now) != nil {
		t.Fatalf("code %d: %s%s", code, out, problems)
	}
	if len(now.Workers) != 1 || now.Workers[0].Worker != "w-1" || now.Workers[0].UsedRows != 1 || now.Jobs["queued"] != 1 || len(now.Active) != 1 || now.Active[0].Step != 2 {
		t.Errorf("got %s", out)
	}
	now.Active = []activeJob{{ID: "ft-1", Name: "poet", Step: 2, Total: 5, Loss: 1.5, TokensRate: 90}}
	var page strings.Builder
	(&app{streams: streams{out: &page}}).tables(&now)
	for _, want := range []string{"w-1     ready  some-base  1/8", "jobs: 1 queued, 1 training\n", "ft-1  poet  2/5   1.5000  90"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("%q is not in\n%s", want, page.String())
		}
	}
}

// inTraining stores a job in training that has told of so many steps since its last checkpoint, as a trainer does.
func inTraining(t *testing.T, b *bus.Bus, id string, steps uint32) bus.Record {
	t.Helper()
	rec, err := b.CreateJob(t.Context(), &pb.Job{Id: id, Name: id, Spec: []byte(`{}`), State: string(job.StateTraining), StartedAt: bus.Timestamp(time.Now())}, bus.Change{})
	if err != nil {
		t.Fatal(err)
	}
	for step := range steps {
		tellStep(t, b, rec, step+1)
	}
	return rec
}

// tellStep tells of a step of a job in training.
func tellStep(t *testing.T, b *bus.Bus, rec bus.Record, step uint32) {
	t.Helper()
	event := &pb.Event{Type: bus.EventStep, Step: &pb.Step{Step: step, Total: 50, Loss: 4 / float64(step+1), TokensPerSecond: 100, Eta: 10}}
	if err := b.Emit(t.Context(), rec, event); err != nil {
		t.Fatal(err)
	}
}
