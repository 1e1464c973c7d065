package inference

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"descant/pkg/generate"
	"descant/pkg/registry"
	"descant/pkg/tokenizer"
)

// fakeEngine counts what is loaded and refuses more than room adapters.
type fakeEngine struct {
	room   int
	mu     sync.Mutex
	keys   []string
	stats  generate.Stats
	logits []float32
	closed atomic.Bool
	// warm, if not nil, is closed when all programs are there.
	warm chan struct{}
}

// fakeWeights are as many bytes as they say.
type fakeWeights int64

func (w fakeWeights) Bytes() int64 { return int64(w) }

func (f *fakeEngine) ReadAdapter(string) (weights, error) { return fakeWeights(1), nil }

func (f *fakeEngine) Combine(parts []weights, _ []float64) (weights, error) {
	return fakeWeights(len(parts)), nil
}

func (f *fakeEngine) Probe(context.Context, string, []int32) ([]float32, error) {
	return f.logits, nil
}

func (f *fakeEngine) Load(_ context.Context, key string, _ weights) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.keys) == f.room {
		return fmt.Errorf("load %s: %w", key, generate.ErrSlotsFull)
	}
	f.keys = append(f.keys, key)
	return nil
}

func (f *fakeEngine) UnloadAdapter(key string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, have := range f.keys {
		if have == key {
			f.keys = append(f.keys[:i], f.keys[i+1:]...)
			return true
		}
	}
	return false
}

func (f *fakeEngine) Generate(context.Context, generate.Request, func(generate.Token) error) (generate.Finish, error) {
	return generate.Finish{}, nil
}
func (f *fakeEngine) MaxContext() int { return 16 }

func (f *fakeEngine) Warm(ctx context.Context) error {
	if f.warm == nil {
		return nil
	}
	select {
	case <-f.warm:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
func (f *fakeEngine) Stats() generate.Stats { return f.stats }
func (f *fakeEngine) Close()                { f.closed.Store(true) }

func fakeServed(base registry.Base) (*served, *fakeEngine) {
	e := &fakeEngine{room: 2}
	return &served{base: base, engine: e, text: &language{tokenizer: new(tokenizer.Tokenizer)}, gate: newGate(Defaults()), slots: newSlots(e, newPins(), func(string) {})}, e
}

func TestPoolOpensOnceAndClosesTheLeastRecentlyUsed(t *testing.T) {
	t.Parallel()
	var opened atomic.Int32
	var mu sync.Mutex
	engines := map[string]*fakeEngine{}
	p := newPool(2, func(_ context.Context, base registry.Base) (*served, error) {
		opened.Add(1)
		if base.Digest == "bad" {
			return nil, errors.New("cannot be opened")
		}
		m, e := fakeServed(base)
		mu.Lock()
		engines[base.Digest] = e
		mu.Unlock()
		return m, nil
	})
	get := func(digest string) func() {
		t.Helper()
		m, release, err := p.get(t.Context(), registry.Base{Digest: digest})
		if err != nil || m.base.Digest != digest {
			t.Fatalf("get %s: %v, %v", digest, m, err)
		}
		return release
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { get("a")() })
	}
	wg.Wait()
	if opened.Load() != 1 {
		t.Errorf("one base was opened %d times", opened.Load())
	}
	for range 2 {
		if _, _, err := p.get(t.Context(), registry.Base{Digest: "bad"}); err == nil {
			t.Error("a base that cannot be opened was given out")
		}
	}
	if opened.Load() != 3 {
		t.Error("a base that could not be opened is not tried again")
	}
	releaseA := get("a")
	get("b")()
	get("c")() // a is busy, so b goes
	if engines["a"].closed.Load() || !engines["b"].closed.Load() {
		t.Error("the busy base was closed instead of the idle one")
	}
	releaseA()
	p.close()
	if !engines["a"].closed.Load() || !engines["c"].closed.Load() {
		t.Error("close leaves a base open")
	}
	if _, _, err := p.get(t.Context(), registry.Base{Digest: "a"}); err == nil {
		t.Error("a closed pool gives out a base")
	}
}
