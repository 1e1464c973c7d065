package inference

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"descant/pkg/generate"
)

// TestDeletedLeaveTheirSlots: at once, or with the last request that uses them; sums of them, too.
func TestDeletedLeaveTheirSlots(t *testing.T) {
	t.Parallel()
	s, e, p, acquire := slotsFor(t)
	p.set("pin", "a") // a pin does not keep what was deleted
	leaveA, err := acquire("a", true)
	if err != nil {
		t.Fatal(err)
	}
	leaveSum, err := s.acquire(t.Context(), order{key: "sum", parts: []string{"a", "c"}, prove: func(context.Context, weights) error { return nil },
		load: func(context.Context) (weights, error) { return fakeWeights(1), nil }, done: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	leaveSum()
	s.drop(map[string]bool{"other": true})
	if keys := s.keys(); len(keys) != 2 {
		t.Errorf("%v are left after another one was deleted", keys)
	}
	s.drop(map[string]bool{"a": true})
	if keys := s.keys(); !slices.Equal(keys, []string{"a"}) || len(e.keys) != 1 {
		t.Errorf("%v are in slots and %v in the engine, want a, which is in use, and not its sum", keys, e.keys)
	}
	leaveA()
	if keys := s.keys(); len(keys) != 0 || len(e.keys) != 0 {
		t.Errorf("%v are left in slots and %v in the engine", keys, e.keys)
	}
	if leave, err := acquire("a", true); err != nil { // for a request that had found it before
		t.Error(err)
	} else {
		leave()
	}
}

// slotsFor returns the slots of an engine with room for two, and a way to have an adapter in one.
func slotsFor(t *testing.T) (s *slots, e *fakeEngine, p *pins, acquire func(key string, evict bool) (func(), error)) {
	t.Helper()
	e, p = &fakeEngine{room: 2}, newPins()
	s = newSlots(e, p, func(string) {})
	return s, e, p, func(key string, evict bool) (func(), error) {
		return s.acquire(t.Context(), order{
			key: key, evict: evict,
			load:  func(context.Context) (weights, error) { return fakeWeights(1), nil },
			prove: func(context.Context, weights) error { return nil },
			done:  func(error) {},
		})
	}
}

func TestSlotsGoToWhoeverUsedThemLast(t *testing.T) {
	t.Parallel()
	s, e, p, acquire := slotsFor(t)
	loaded := func(want ...string) {
		t.Helper()
		got := s.keys()
		slices.Sort(got)
		if !slices.Equal(got, want) || len(e.keys) != len(want) {
			t.Errorf("in slots are %v, in the engine %v, want %v", got, e.keys, want)
		}
	}
	use := func(key string) {
		t.Helper()
		release, err := acquire(key, true)
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
	use("a")
	use("b")
	use("a")
	if _, err := acquire("c", false); !errors.Is(err, generate.ErrSlotsFull) {
		t.Errorf("without evict: %v", err)
	}
	use("c") // b was used the longest ago
	loaded("a", "c")

	keepA, err := acquire("a", true)
	if err != nil {
		t.Fatal(err)
	}
	use("b") // a is in use though it was used before c
	loaded("a", "b")
	p.set("b", "b")
	if _, err := acquire("d", true); !errors.Is(err, generate.ErrSlotsFull) {
		t.Errorf("one is in use, one is pinned: %v", err)
	}
	loaded("a", "b")
	p.wish("name", []string{"a"})
	keepA()
	if _, err := acquire("d", false); !errors.Is(err, generate.ErrSlotsFull) {
		t.Errorf("what the registry pins gives its slot to a load that nobody waits for: %v", err)
	}
	keepA() // twice is once; a is pinned by the registry, but nothing else can go
	use("d")
	loaded("b", "d")

	p.set("b", "c")
	p.wish("name", []string{"b"})
	use("a") // d was used later than b, but is not pinned
	loaded("a", "b")
	p.set("b", "b")
	use("d")

	s.close()
	loaded2 := s.keys()
	if _, err := acquire("b", true); !errors.Is(err, generate.ErrClosed) || len(loaded2) != 0 {
		t.Errorf("after close: %v, %v", err, loaded2)
	}
}

// TestABadAdapterFailsNobodyElse: whoever asks for it is told, its slot is free again, and others do not notice.
func TestABadAdapterFailsNobodyElse(t *testing.T) {
	t.Parallel()
	s, e, _, acquire := slotsFor(t)
	good, err := acquire("good", true)
	if err != nil {
		t.Fatal(err)
	}
	defer good()
	bad := errors.New("bad")
	for name, o := range map[string]order{
		"load":  {load: func(context.Context) (weights, error) { return nil, bad }},
		"panic": {load: func(context.Context) (weights, error) { panic("oh") }},
		"prove": {load: func(context.Context) (weights, error) { return fakeWeights(1), nil }, prove: func(context.Context, weights) error { return bad }},
	} {
		var told error
		o.key, o.evict, o.done = "bad", true, func(err error) { told = err }
		if _, err := s.acquire(t.Context(), o); err == nil || told == nil || name != "panic" && !errors.Is(err, bad) {
			t.Errorf("%s: %v, told %v", name, err, told)
		}
		if !slices.Equal(e.keys, []string{"good"}) || s.has("bad") {
			t.Errorf("%s: in the engine are %v", name, e.keys)
		}
	}
}

// TestOneLoadForAll: requests that come while an adapter is loaded wait for that load, one that goes away does not end
// it, and others get their slots meanwhile.
func TestOneLoadForAll(t *testing.T) {
	t.Parallel()
	s, _, _, acquire := slotsFor(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	loads := 0
	slow := order{
		key: "slow", evict: true,
		load: func(context.Context) (weights, error) {
			loads++
			close(begun)
			<-goOn
			return fakeWeights(1), nil
		},
		prove: func(context.Context, weights) error { return nil },
		done:  func(error) {},
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := s.acquire(ctx, slow); !errors.Is(err, context.Canceled) {
			t.Errorf("a request that went away: %v", err)
		}
	})
	<-begun
	for range 5 {
		wg.Go(func() {
			release, err := s.acquire(t.Context(), slow)
			if err != nil {
				t.Error(err)
				return
			}
			release()
		})
	}
	if release, err := acquire("quick", true); err != nil {
		t.Errorf("another adapter waits for the slow one: %v", err)
	} else {
		release()
	}
	cancel()
	close(goOn)
	wg.Wait()
	if loads != 1 || !s.has("slow") {
		t.Errorf("the adapter was loaded %d times", loads)
	}
}
