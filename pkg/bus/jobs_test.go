package bus_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"descant/pkg/bus"
	"descant/pkg/pb"
)

func createAndAdvance(t *testing.T, b *bus.Bus) {
	job := &pb.Job{Id: "create-1", State: "received", Spec: []byte(`{"a":1}`)}
	rec := create(t, b, job, bus.Change{Events: []*pb.Event{{}}, Stage: "none1"})
	if rec.Job.Epoch != 1 || rec.Job.CreatedAt == nil || job.Epoch != 0 {
		t.Errorf("record %v, argument %v", rec.Job, job)
	}
	there, err := b.CreateJob(t.Context(), job, bus.Change{})
	wantIs(t, err, bus.ErrExists)
	if there.Revision != rec.Revision {
		t.Errorf("revision %d of the existing record, want %d", there.Revision, rec.Revision)
	}
	// Revisions of batches of one, two and three messages must all be those that
	// a reader sees.
	for _, change := range []bus.Change{
		{}, {Stage: "none1"}, {Events: []*pb.Event{{}}}, {Events: []*pb.Event{{}, {Type: bus.EventLog, Message: "hello"}}, Stage: "none1"},
	} {
		rec = advance(t, b, rec, "validating", change)
		read, err := b.Job(t.Context(), "create-1")
		must(t, err)
		if read.Revision != rec.Revision || read.Job.Epoch != rec.Job.Epoch || string(read.Job.Spec) != `{"a":1}` {
			t.Fatalf("stored %v at %d, read %v at %d", rec.Job, rec.Revision, read.Job, read.Revision)
		}
	}
	_, err = b.Job(t.Context(), "create-none")
	wantIs(t, err, bus.ErrNotFound)
	_, err = b.Job(t.Context(), "no.such*")
	wantIs(t, err, bus.ErrNotFound)
	if _, err := b.CreateJob(t.Context(), &pb.Job{Id: "a.b"}, bus.Change{}); err == nil {
		t.Error("a job id with a dot was taken")
	}
}

func advanceRace(t *testing.T, b *bus.Bus) {
	rec := create(t, b, &pb.Job{Id: "race-1", State: "queued"}, bus.Change{})
	var (
		wg   sync.WaitGroup
		wins atomic.Int32
	)
	for range 8 {
		wg.Go(func() {
			job := bus.Clone(rec.Job)
			job.State = "training"
			_, err := b.Advance(t.Context(), rec, job, bus.Change{Events: []*pb.Event{{}}})
			if err == nil {
				wins.Add(1)
			} else if !errors.Is(err, bus.ErrStale) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if wins.Load() != 1 {
		t.Errorf("%d of 8 workers changed the same record", wins.Load())
	}
	if events := past(t, b, "race-1"); len(events) != 1 {
		t.Errorf("%d events of 1 change", len(events))
	}
}

// staleBatch: of a batch whose condition fails nothing is stored.
func staleBatch(t *testing.T, b *bus.Bus) {
	old := create(t, b, &pb.Job{Id: "stale-1", State: "queued"}, bus.Change{})
	now := advance(t, b, old, "training", bus.Change{})
	_, err := b.Advance(t.Context(), old, old.Job, bus.Change{Events: []*pb.Event{{}}, Stage: "none2"})
	wantIs(t, err, bus.ErrStale)
	if events := past(t, b, "stale-1"); len(events) != 0 {
		t.Errorf("a refused batch left %v", events)
	}
	wantIs(t, b.Enqueue(t.Context(), old, "none2"), bus.ErrStale)
	must(t, b.Enqueue(t.Context(), now, "none2"))
	if _, err := b.Advance(t.Context(), now, &pb.Job{Id: "other"}, bus.Change{}); err == nil {
		t.Error("a record of one job replaced that of another")
	}
}

func fencedEvents(t *testing.T, b *bus.Bus) {
	mine := create(t, b, &pb.Job{Id: "fence-1", State: "training", Worker: "w1"}, bus.Change{})
	for step := range uint32(3) {
		must(t, b.Emit(t.Context(), mine, &pb.Event{Type: bus.EventStep, Step: &pb.Step{Step: step, Total: 3, Loss: 0}}))
	}
	theirs := advance(t, b, mine, "training", bus.Change{})
	wantIs(t, b.Emit(t.Context(), mine, &pb.Event{Type: bus.EventStep}), bus.ErrStale)
	must(t, b.Emit(t.Context(), theirs, &pb.Event{Type: bus.EventStep, Step: &pb.Step{Step: 3}}))
	events := past(t, b, "fence-1")
	if len(events) != 4 {
		t.Fatalf("%d events, want 4: %v", len(events), events)
	}
	for i, e := range events {
		if e.Step.Step != uint32(i) || e.Job != "fence-1" || e.Time == nil || e.Seq == 0 {
			t.Errorf("event %d is %v", i, e)
		}
	}
}

func past(t *testing.T, b *bus.Bus, job string) []*pb.Event {
	t.Helper()
	var all []*pb.Event
	for e, err := range b.Follow(limited(t), job, bus.FollowOptions{Past: true}) {
		must(t, err)
		all = append(all, e)
	}
	return all
}

// follow replays from the start, sees what happens meanwhile, and goes on from
// where another left off.
func follow(t *testing.T, b *bus.Bus) {
	rec := create(t, b, &pb.Job{Id: "follow-1", State: "received"}, bus.Change{Events: []*pb.Event{{}}})
	var states []string
	var second uint64
	for e, err := range b.Follow(limited(t), "follow-1", bus.FollowOptions{}) {
		must(t, err)
		states = append(states, e.State)
		switch e.State {
		case "received":
			rec = advance(t, b, rec, "validating", bus.Change{Events: []*pb.Event{{}}})
		case "validating":
			second = e.Seq
			rec = advance(t, b, rec, "failed", bus.Change{Events: []*pb.Event{{Error: &pb.Error{Code: "bad_row"}}}})
		}
		if e.State == "failed" {
			if e.Error.GetCode() != "bad_row" || e.Epoch != 3 {
				t.Errorf("last event %v", e)
			}
			break
		}
	}
	if len(states) != 3 {
		t.Errorf("states %v", states)
	}
	for e, err := range b.Follow(limited(t), "follow-1", bus.FollowOptions{From: second, Past: true}) {
		must(t, err)
		if e.Seq != second {
			t.Errorf("replay from %d starts with %d", second, e.Seq)
		}
		break
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range b.Follow(cancelled, "follow-1", bus.FollowOptions{Live: true}) {
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func listAndWatch(t *testing.T, b *bus.Bus) {
	rec := create(t, b, &pb.Job{Id: "list-1", State: "received"}, bus.Change{})
	rec = advance(t, b, rec, "queued", bus.Change{})
	all, err := b.Jobs(limited(t))
	must(t, err)
	seen := map[string]int{}
	for _, r := range all {
		seen[r.Job.Id]++
		if r.Job.Id == "list-1" && (r.Job.State != "queued" || r.Revision != rec.Revision) {
			t.Errorf("listed %v", r)
		}
	}
	if seen["list-1"] != 1 {
		t.Errorf("job listed %d times", seen["list-1"])
	}
	for r, err := range b.WatchJobs(limited(t)) {
		must(t, err)
		if r.Job.Id != "list-1" {
			continue
		}
		if r.Job.State == "failed" {
			break
		}
		rec = advance(t, b, rec, "failed", bus.Change{})
	}
}

func rejection(t *testing.T, b *bus.Bus) {
	must(t, b.Reject(t.Context(), "rejected-1", &pb.Error{Class: "user", Code: "unknown_field", Message: "no field lerning_rate"}))
	events := past(t, b, "rejected-1")
	if len(events) != 1 || events[0].Type != bus.EventRejected || events[0].Error.GetCode() != "unknown_field" {
		t.Errorf("%v", events)
	}
}

// listWhileChanging lists jobs while one of them changes: each is there once.
func listWhileChanging(t *testing.T, b *bus.Bus) {
	rec := create(t, b, &pb.Job{Id: "busy-1", State: "received"}, bus.Change{})
	var changing sync.WaitGroup
	changing.Go(func() {
		for range 200 {
			next, err := b.Advance(t.Context(), rec, rec.Job, bus.Change{})
			if err != nil {
				t.Error(err)
				return
			}
			rec = next
		}
	})
	for range 50 {
		all, err := b.Jobs(t.Context())
		must(t, err)
		seen := map[string]int{}
		for _, one := range all {
			if seen[one.Job.GetId()]++; seen[one.Job.GetId()] > 1 {
				t.Fatalf("job %s is listed twice", one.Job.GetId())
			}
		}
		if seen["busy-1"] != 1 {
			t.Fatal("the job that changes is not listed")
		}
	}
	changing.Wait()
}
