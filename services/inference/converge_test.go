package inference

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"testing"
	"time"

	"descant/pkg/bus"
	"descant/pkg/registry"
)

// unreliable is the bucket of the registry as a bad day would have it: of the changes that a watch tells, some get lost,
// some come twice, and some come late and after newer ones. Listing tells the truth.
type unreliable struct {
	*bus.Bucket
	seed uint64
}

func (u unreliable) Watch(ctx context.Context, pattern string) iter.Seq2[bus.Entry, error] {
	return func(yield func(bus.Entry, error) bool) {
		random := rand.New(rand.NewPCG(u.seed, 1))
		var late []bus.Entry
		for entry, err := range u.Bucket.Watch(ctx, pattern) {
			if err != nil || entry.Current {
				if !yield(entry, err) {
					return
				}
				continue
			}
			told := []bus.Entry{entry}
			switch random.IntN(4) {
			case 0:
				told = nil
			case 1:
				told = append(told, entry)
			case 2:
				told, late = nil, append(late, entry)
			}
			if len(late) > 2 { // newest first: the older ones come last
				for i := len(late) - 1; i >= 0; i-- {
					told = append(told, late[i])
				}
				late = nil
			}
			for _, one := range told {
				if !yield(one, nil) {
					return
				}
			}
		}
	}
}

// TestWorkersConverge: whatever becomes of the hints, every worker comes to have what the registry says, and answers
// accordingly.
func TestWorkersConverge(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for i := range 2 {
		f.worker(t, fmt.Sprintf("w-%d", i+1), f.registryOver(unreliable{f.bus.Registry(), uint64(i)}), func(c *Config) {
			c.Slots, c.Relist = 16, 500*time.Millisecond
		})
	}
	answers := map[string]string{}
	var last []registry.Resolved
	for i := range 4 {
		last = nil
		for n, name := range []string{"a", "b", "c"} {
			found, answer := f.publish(t, name, 20*n+i, nil)
			answers[name], answers[found.Pinned()] = answer, answer
			last = append(last, found)
		}
	}
	if _, err := f.registry.Promote(t.Context(), "a@2", registry.Prod, registry.Whole); err != nil {
		t.Fatal(err)
	}
	prod, err := f.registry.Resolve(t.Context(), "a@prod")
	if err != nil {
		t.Fatal(err)
	}
	answers["a@prod"] = answers["a@2"]
	for _, worker := range []string{"w-1", "w-2"} {
		for _, found := range append(last, prod) {
			f.until(t, worker, found.Version.GetDigest(), stateReady)
		}
		for model, want := range answers {
			if got, by, err := f.ask(t.Context(), worker, model); err != nil || got != want {
				t.Errorf("%s on %s answers %q by %s, %v; want %q", model, worker, got, by, err, want)
			}
		}
	}
}

// TestObjectStoreAway: what is in a slot, in host memory or on disk goes on answering while the object store is
// stopped.
func TestObjectStoreAway(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := f.worker(t, "w-1", f.registry, func(c *Config) { c.HostBytes = 12 << 10 }) // four adapters
	var answers []string
	for n := range 6 {
		found, answer := f.publish(t, fmt.Sprintf("a%d", n), 10+n, nil)
		f.until(t, "w-1", found.Version.GetDigest(), stateReady)
		answers = append(answers, answer)
	}
	tiers := map[string]int{}
	for n := range 6 {
		found, err := f.registry.Resolve(t.Context(), fmt.Sprintf("a%d", n))
		if err != nil {
			t.Fatal(err)
		}
		digest := found.Version.GetDigest()
		switch {
		case s.pool.loaded()[0].slots.has(digest):
			tiers["slot"]++
		case s.host.has(digest):
			tiers["host"]++
		case s.disk.has(digest):
			tiers["disk"]++
		}
	}
	if tiers["slot"] == 0 || tiers["host"] == 0 || tiers["disk"] == 0 {
		t.Fatalf("the adapters lie in %v: the test shows nothing of some tier", tiers)
	}
	f.store.stop()
	for range 2 { // in the second round they have pushed each other out of slots and host memory
		for n, want := range answers {
			f.wants(t, fmt.Sprintf("a%d", n), want)
		}
	}
}
