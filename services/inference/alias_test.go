package inference

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"descant/pkg/bus"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// TestAnAnswerHasOneVersion moves an alias between two versions that answer differently, to and fro, while answers by the
// alias are generated: each of them is that of one version from the first token to the last.
func TestAnAnswerHasOneVersion(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.worker(t, "w-1", f.registry, nil)
	f.gateway(t)
	var moves atomic.Int64
	ask := func(subject, model string) (text string, by map[string]bool, moved bool) {
		by = map[string]bool{}
		req := &pb.ChatRequest{Model: model, Prompt: question, MaxTokens: 40, Temperature: ptr(0.0), IgnoreEos: ptr(true)}
		begun := int64(-1)
		for chunk, err := range f.bus.Chat(t.Context(), subject, req, time.Minute) {
			if err != nil {
				t.Fatal(err)
			}
			if begun < 0 {
				begun = moves.Load()
			}
			text += chunk.GetDelta()
			by[chunk.GetModel()] = true
			moved = moves.Load() > begun
		}
		return text, by, moved
	}
	versions := []string{"flip@1", "flip@2"}
	answers := map[string]string{}
	for n, version := range versions {
		found, _ := f.publish(t, "flip", 10+10*n, nil)
		f.until(t, "w-1", found.Version.GetDigest(), stateReady)
		answers[version], _, _ = ask(bus.WorkerSubject("w-1"), version)
	}
	if answers[versions[0]] == answers[versions[1]] {
		t.Fatal("both versions answer alike: the test shows nothing")
	}
	promote := func(version string) {
		if _, err := f.registry.Promote(t.Context(), version, registry.Prod, registry.Whole); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		moves.Add(1)
	}
	promote(versions[0])
	mover, stop := context.WithCancel(t.Context())
	var moving sync.WaitGroup
	defer moving.Wait()
	defer stop()
	moving.Go(func() {
		for i := 1; mover.Err() == nil; i++ {
			promote(versions[i%2])
		}
	})
	during, seen := 0, map[string]bool{}
	for i := 0; i < 12 || i < 300 && (during < 3 || len(seen) < 2); i++ {
		subject := []string{bus.SubjectChat, bus.WorkerSubject("w-1")}[i%2]
		text, by, moved := ask(subject, "flip@prod")
		if moved {
			during++
		}
		if len(by) != 1 {
			t.Fatalf("one answer is by %v", by)
		}
		for version := range by {
			seen[version] = true
			if text != answers[version] {
				t.Fatalf("%s answers %q, alone it answers %q", version, text, answers[version])
			}
		}
	}
	if during < 3 || len(seen) < 2 {
		t.Errorf("the alias was moved during %d answers, which were by %v: the test shows too little", during, seen)
	}
}

// TestCanaryOverHTTP: an application's users stay with the version that they got, when their requests come again and when
// the share grows.
func TestCanaryOverHTTP(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.worker(t, "w-1", f.registry, nil)
	url := f.gateway(t)
	answers := map[string]string{}
	for n := range 2 {
		found, answer := f.publish(t, "split", 10+10*n, nil)
		f.until(t, "w-1", found.Version.GetDigest(), stateReady)
		answers[found.Pinned()] = answer
	}
	share := func(version string, hundredths uint32) {
		t.Helper()
		if _, err := f.registry.Promote(t.Context(), version, registry.Prod, hundredths); err != nil {
			t.Fatal(err)
		}
	}
	share("split@1", registry.Whole)
	share("split@2", 3_000)
	got := map[string]string{}
	each := func(check func(user, version string)) {
		t.Helper()
		for i := range 24 {
			user := fmt.Sprint("user-", i)
			status, text, version := completionFor(t, url, "split@prod", user)
			if status != http.StatusOK || text != answers[version] {
				t.Errorf("%s gets status %d, %q of %s, want %q", user, status, text, version, answers[version])
			}
			check(user, version)
		}
	}
	count := func() (canaries int) {
		for _, version := range got {
			if version == "split@2" {
				canaries++
			}
		}
		return canaries
	}
	each(func(user, version string) { got[user] = version })
	before := count()
	if before == 0 || before == len(got) {
		t.Fatalf("%d of %d users have the canary: the test shows nothing", before, len(got))
	}
	each(func(user, version string) {
		if version != got[user] {
			t.Errorf("%s had %s and has %s", user, got[user], version)
		}
	})
	share("split@2", 7_000)
	each(func(user, version string) {
		if got[user] == "split@2" && version != "split@2" {
			t.Errorf("%s lost the canary when its share grew", user)
		}
		got[user] = version
	})
	if after := count(); after <= before {
		t.Errorf("%d users have the canary, with a smaller share %d had it", after, before)
	}
}
