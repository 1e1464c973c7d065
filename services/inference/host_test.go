package inference

import (
	"context"
	"errors"
	"sync"
	"testing"
)

func TestHostKeepsTheLatestByBytes(t *testing.T) {
	t.Parallel()
	p := newPins()
	h := newHost(10, p)
	loads := map[string]int{}
	get := func(key string, bytes int64) {
		t.Helper()
		w, err := h.get(t.Context(), key, func(context.Context) (weights, error) {
			loads[key]++
			return fakeWeights(bytes), nil
		})
		if err != nil || w.Bytes() != bytes {
			t.Fatalf("%s: %v, %v", key, w, err)
		}
	}
	get("a", 4)
	get("b", 4)
	get("a", 4)
	get("c", 4) // b goes
	if !h.has("a") || h.has("b") || !h.has("c") || h.bytes != 8 {
		t.Errorf("kept are %d bytes", h.bytes)
	}
	get("large", 11) // more than all the room
	if h.has("large") || !h.has("a") || !h.has("c") {
		t.Error("what does not fit anyway cost others their place")
	}
	p.set("a@prod", "a")
	get("d", 6)
	if !h.has("a") || h.has("c") || !h.has("d") || h.bytes != 10 {
		t.Errorf("pinned a must stay, c must go: %d bytes", h.bytes)
	}
	if loads["a"] != 1 || loads["b"] != 1 {
		t.Errorf("loads: %v", loads)
	}
	bad := errors.New("bad")
	if _, err := h.get(t.Context(), "bad", func(context.Context) (weights, error) { return nil, bad }); !errors.Is(err, bad) || h.has("bad") {
		t.Errorf("a load that fails: %v", err)
	}
}

func TestHostLoadsOnceForAll(t *testing.T) {
	t.Parallel()
	h := newHost(10, newPins())
	begun, goOn := make(chan struct{}), make(chan struct{})
	loads := 0
	load := func(ctx context.Context) (weights, error) {
		loads++
		close(begun)
		<-goOn
		return fakeWeights(1), ctx.Err()
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := h.get(ctx, "a", load); !errors.Is(err, context.Canceled) {
			t.Errorf("who went away got %v", err)
		}
	})
	<-begun
	wg.Go(func() {
		if _, err := h.get(t.Context(), "a", load); err != nil {
			t.Error(err)
		}
	})
	cancel()
	close(goOn)
	wg.Wait()
	if _, err := h.get(t.Context(), "a", load); err != nil || loads != 1 {
		t.Errorf("loaded %d times, %v", loads, err)
	}
}
