package generate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"descant/pkg/device"

	"github.com/gomlx/compute"
)

// twoAdapters is a case whose adapter has all linear layers; scaled makes more adapters of it.
const twoAdapters = "qwen2-untied"

func caseDir(name string) string { return filepath.Join(parityDir(), name) }

// TestBatchGivesWhatEachAloneGives runs requests for the base and two adapters at the same time, more of them than
// there are rows, on both ways of keeping the cache.
func TestBatchGivesWhatEachAloneGives(t *testing.T) {
	// Only pure Go has two sizes of the cache here: XLA takes a second for every program.
	for kind, maxContext := range map[string]int{device.XLA: 256, device.Go: 300} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := caseDir(twoAdapters)
			e := start(t, kind, filepath.Join(dir, "base"), Options{MaxRows: 5, MaxContext: maxContext, Slots: 3, MaxRank: 8})
			for key, scale := range map[string]float64{"one": 1, "two": -2} {
				if err := e.LoadAdapter(t.Context(), key, scaled(t, filepath.Join(dir, "adapter"), scale)); err != nil {
					t.Fatal(err)
				}
			}
			var c generateCase
			readJSON(t, &c, dir, "generate.json")
			var requests []Request
			for i, p := range c.Prompts {
				for k, key := range []string{"", "one", "two"} {
					req := Request{Adapter: key, Prompt: p.Prompt, MaxTokens: 8 + 5*i + k}
					if i == 1 {
						req.Sampling = Sampling{Temperature: 0.8, TopP: 0.9, Seed: uint64(k)}
					}
					if i == 2 { // long enough to make the cache of the others grow while they talk
						req.Prompt = slices.Repeat(p.Prompt, (maxContext-30)/len(p.Prompt))
					}
					requests = append(requests, req)
				}
			}
			var alone, together [][]int32
			for _, req := range requests {
				alone = append(alone, collect(t, e, req))
			}
			if slices.Equal(alone[0], alone[1]) || slices.Equal(alone[1], alone[2][:len(alone[1])]) {
				t.Error("the adapters change nothing: the test shows nothing")
			}
			together = make([][]int32, len(requests))
			var wg sync.WaitGroup
			for i, req := range requests {
				wg.Go(func() { together[i] = collect(t, e, req) })
			}
			wg.Wait()
			for i := range requests {
				if !slices.Equal(alone[i], together[i]) {
					t.Errorf("request %d (%q): %v alone, %v in the batch", i, requests[i].Adapter, alone[i], together[i])
				}
			}
			if s := e.Stats(); s.Rows != 0 || s.Waiting != 0 || s.OutputTokens == 0 || s.PromptTokens == 0 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// TestAdaptersLeaveNothingBehind loads, replaces and unloads adapters in the same columns.
func TestAdaptersLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	dir := caseDir(twoAdapters)
	e := start(t, device.Go, filepath.Join(dir, "base"), Options{MaxRows: 2, MaxContext: 64, Slots: 1, MaxRank: 4})
	one, two := filepath.Join(dir, "adapter"), scaled(t, filepath.Join(dir, "adapter"), -2)
	req := Request{Prompt: []int32{5, 6, 7}, MaxTokens: 12}
	with := func(key string) []int32 {
		r := req
		r.Adapter = key
		return collect(t, e, r)
	}
	load := func(key, dir string) {
		t.Helper()
		if err := e.LoadAdapter(t.Context(), key, dir); err != nil {
			t.Fatal(err)
		}
	}
	base := with("")
	load("a", one)
	a := with("a")
	if slices.Equal(a, base) || !slices.Equal(with(""), base) {
		t.Error("the adapter must change its own answers, and not those of the base")
	}
	load("a", two) // replaces, there is no room for both
	if slices.Equal(with("a"), a) {
		t.Error("the replaced adapter still answers")
	}
	if err := e.LoadAdapter(t.Context(), "b", one); !errors.Is(err, ErrSlotsFull) {
		t.Errorf("error %v for an adapter too many", err)
	}
	if !e.UnloadAdapter("a") || e.UnloadAdapter("a") {
		t.Error("unload says something else than what it did")
	}
	load("b", one)
	if !slices.Equal(with("b"), a) || !slices.Equal(with(""), base) || !slices.Equal(e.Adapters(), []string{"b"}) {
		t.Error("something of an earlier adapter is left")
	}
	if _, err := e.Generate(t.Context(), Request{Adapter: "a", Prompt: []int32{1}}, nil); !errors.Is(err, ErrUnknownAdapter) {
		t.Errorf("error %v for an adapter that was unloaded", err)
	}
}

// TestFewerModulesLeaveNothingOfTheLastAdapter loads an adapter of all modules, unloads it, and loads one of few modules
// into its columns: the logits must be, bit for bit, those of an engine that never knew the first.
func TestFewerModulesLeaveNothingOfTheLastAdapter(t *testing.T) {
	t.Parallel()
	dir := caseDir(twoAdapters)
	few := small(t, filepath.Join(dir, "base"))
	var engines []*Engine
	for range 2 {
		engines = append(engines, start(t, device.Go, filepath.Join(dir, "base"), Options{MaxRows: 2, MaxContext: 64, Slots: 1, MaxRank: 4}))
	}
	load := func(e *Engine, key, dir string) {
		if err := e.LoadAdapter(t.Context(), key, dir); err != nil {
			t.Fatal(err)
		}
	}
	logits := func(e *Engine, key string) (out []float32) {
		err := e.order(t.Context(), func() (err error) {
			seq := newSequence(t.Context(), Request{Prompt: []int32{5, 6, 7}}, e.adapters.byKey[key])
			seq.row = 0
			out, err = e.steps.prefill(seq, 0)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	load(engines[0], "all", filepath.Join(dir, "adapter"))
	base := logits(engines[0], "")
	all := logits(engines[0], "all")
	engines[0].UnloadAdapter("all")
	if !slices.Equal(logits(engines[0], ""), base) {
		t.Error("the base has changed")
	}
	for _, e := range engines {
		load(e, "few", few)
	}
	got, want := logits(engines[0], "few"), logits(engines[1], "few")
	if !slices.Equal(got, want) || slices.Equal(got, base) || slices.Equal(got, all) {
		t.Error("something of the first adapter is left, or the second does nothing")
	}
}

// TestCancelledRequestsTakeNoMoreSteps cancels an answer in its middle: at most the step under way is still made.
func TestCancelledRequestsTakeNoMoreSteps(t *testing.T) {
	t.Parallel()
	e := start(t, device.Go, filepath.Join(caseDir("qwen2-tied"), "base"), Options{MaxRows: 1, MaxContext: 20000, Slots: -1})
	ctx, cancel := context.WithCancel(t.Context())
	var atCancel int64
	_, err := e.Generate(ctx, Request{Prompt: []int32{1}}, func(Token) error {
		if atCancel == 0 {
			cancel()
			atCancel = e.Stats().Steps
		}
		return nil
	})
	if more := e.Stats().Steps - atCancel; !errors.Is(err, context.Canceled) || more > 1 {
		t.Errorf("%d steps after the request was cancelled, which ended with %v", more, err)
	}
}

// TestCombinationsAreAdapters: a part of weight 1 alone is the adapter itself, and parts of the same adapter are one of
// the sum of their roots, squared.
func TestCombinationsAreAdapters(t *testing.T) {
	t.Parallel()
	dir := caseDir(twoAdapters)
	e := start(t, device.Go, filepath.Join(dir, "base"), Options{MaxRows: 2, MaxContext: 64, Slots: 4, MaxRank: 4})
	one, err := e.ReadAdapter(filepath.Join(dir, "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	load := func(key string, parts ...Part) {
		t.Helper()
		sum, err := Combine(parts...)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Load(t.Context(), key, sum); err != nil {
			t.Fatal(err)
		}
	}
	load("alone", Part{one, 1})
	load("halves", Part{one, 0.25}, Part{one, 0.25})
	load("nothing", Part{one, 0})
	if err := e.Load(t.Context(), "a", one); err != nil {
		t.Fatal(err)
	}
	answer := func(key string) []int32 {
		return collect(t, e, Request{Adapter: key, Prompt: []int32{5, 6, 7}, MaxTokens: 20})
	}
	a, base := answer("a"), answer("")
	if slices.Equal(a, base) || !slices.Equal(answer("alone"), a) || !slices.Equal(answer("halves"), a) || !slices.Equal(answer("nothing"), base) {
		t.Errorf("adapter %v, alone %v, halves %v; base %v, nothing %v", a, answer("alone"), answer("halves"), base, answer("nothing"))
	}
	if _, err := Combine(Part{one, -1}); err == nil || !strings.Contains(err.Error(), "weight 1") {
		t.Errorf("error %v for a negative weight", err)
	}
}

// TestUnloadLetsRunningRequestsFinish takes the columns away only after the last user.
func TestUnloadLetsRunningRequestsFinish(t *testing.T) {
	t.Parallel()
	dir := caseDir(twoAdapters)
	e := start(t, device.Go, filepath.Join(dir, "base"), Options{MaxRows: 1, MaxContext: 64, Slots: 1, MaxRank: 4})
	if err := e.LoadAdapter(t.Context(), "a", filepath.Join(dir, "adapter")); err != nil {
		t.Fatal(err)
	}
	req := Request{Adapter: "a", Prompt: []int32{5, 6, 7}, MaxTokens: 20}
	want := collect(t, e, req)
	var got []int32
	var full error
	_, err := e.Generate(t.Context(), req, func(token Token) error {
		if got = append(got, token.ID); len(got) == 1 {
			e.UnloadAdapter("a")
			full = e.LoadAdapter(t.Context(), "b", scaled(t, filepath.Join(dir, "adapter"), -2))
		}
		return nil
	})
	// The loop may have finished the whole answer before emit saw its first token; then there was room.
	if err != nil || !slices.Equal(got, want) || full != nil && !errors.Is(full, ErrSlotsFull) {
		t.Errorf("got %v, %v (load meanwhile: %v), want %v", got, err, full, want)
	}
	if err := e.LoadAdapter(t.Context(), "b", filepath.Join(dir, "adapter")); err != nil {
		t.Errorf("no room after the last user: %v", err)
	}
}

func TestSameSeedGivesTheSameSample(t *testing.T) {
	t.Parallel()
	e := start(t, device.Go, filepath.Join(caseDir("qwen2-tied"), "base"), Options{MaxRows: 2, MaxContext: 128, Slots: -1, UsedVocab: 300})
	req := Request{Prompt: []int32{1, 2, 3}, MaxTokens: 100, Sampling: Sampling{Temperature: 3, Seed: 7}}
	first := collect(t, e, req)
	if !slices.Equal(first, collect(t, e, req)) {
		t.Error("the same seed gave two samples")
	}
	req.Sampling.Seed = 8
	if slices.Equal(first, collect(t, e, req)) {
		t.Error("another seed gave the same sample")
	}
	if slices.Max(first) >= 300 {
		t.Errorf("id %d has no text", slices.Max(first))
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	e := start(t, device.Go, filepath.Join(caseDir("qwen2-tied"), "base"), Options{MaxRows: 1, MaxContext: 32, Slots: -1})
	cases := []struct {
		name string
		req  Request
		want []string
	}{
		{"empty", Request{}, []string{"prompt is empty"}},
		{"not in the vocabulary", Request{Prompt: []int32{int32(e.vocab)}}, []string{strconv.Itoa(e.vocab), "vocabulary"}},
		{"prompt too long", Request{Prompt: make([]int32, 32)}, []string{"32 tokens", "shorten"}},
		{"no room for the answer", Request{Prompt: make([]int32, 20), MaxTokens: 13}, []string{"20", "13", "33", "32", "at most 12"}},
		{"sampling", Request{Prompt: []int32{1}, Sampling: Sampling{TopP: 2, Temperature: -1}}, []string{"top_p", "temperature"}},
	}
	for _, c := range cases {
		_, err := e.Generate(t.Context(), c.req, nil)
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: error %v", c.name, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", c.name, err, want)
			}
		}
	}
	// A full context ends the answer.
	if got := collect(t, e, Request{Prompt: make([]int32, 20)}); len(got) != 12 {
		t.Errorf("%d tokens in a context with room for 12", len(got))
	}
}

func TestCancelledRequestsLeaveRowAndQueue(t *testing.T) {
	t.Parallel()
	e := start(t, device.Go, filepath.Join(caseDir("qwen2-tied"), "base"), Options{MaxRows: 1, MaxContext: 20000, Slots: -1})
	reason := errors.New("the user left")
	ctx, cancel := context.WithCancelCause(t.Context())
	running := make(chan struct{})
	ended := make(chan error)
	go func() {
		var once sync.Once
		_, err := e.Generate(ctx, Request{Prompt: []int32{1}}, func(Token) error {
			once.Do(func() { close(running) })
			return nil
		})
		ended <- err
	}()
	<-running
	queued, cancelQueued := context.WithCancelCause(t.Context())
	go func() {
		_, err := e.Generate(queued, Request{Prompt: []int32{1}}, nil)
		ended <- err
	}()
	for e.Stats().Waiting == 0 {
		runtime.Gosched()
	}
	cancelQueued(reason)
	if err := <-ended; !errors.Is(err, reason) {
		t.Errorf("waiting request ended with %v", err)
	}
	cancel(reason)
	if err := <-ended; !errors.Is(err, reason) {
		t.Errorf("running request ended with %v", err)
	}
	if _, err := e.Generate(t.Context(), Request{Prompt: []int32{1}}, func(Token) error { return reason }); !errors.Is(err, reason) {
		t.Errorf("request whose emit fails ended with %v", err)
	}
	if got := collect(t, e, Request{Prompt: []int32{1}, MaxTokens: 3}); len(got) != 3 {
		t.Errorf("%d tokens after the cancelled requests", len(got))
	}
}

func TestCloseEndsEverything(t *testing.T) {
	t.Parallel()
	dev := openDevice(t, device.Go)
	e, err := New(dev, filepath.Join(caseDir("qwen2-tied"), "base"), Options{MaxRows: 1, MaxContext: 20000, Slots: -1})
	if err != nil {
		t.Fatal(err)
	}
	running := make(chan struct{})
	done := make(chan error, 2)
	go func() {
		var once sync.Once
		_, err := e.Generate(t.Context(), Request{Prompt: []int32{1}}, func(Token) error {
			once.Do(func() { close(running) })
			return nil
		})
		done <- err
	}()
	<-running
	e.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("running request ended with %v", err)
	}
	if _, err := e.Generate(t.Context(), Request{Prompt: []int32{1}}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("request after Close ended with %v", err)
	}
	if err := e.LoadAdapter(t.Context(), "a", filepath.Join(caseDir("qwen2-tied"), "adapter")); !errors.Is(err, ErrClosed) {
		t.Errorf("load after Close ended with %v", err)
	}
	e.Close()
}

// TestWarmEngineCompilesNothing sends random requests for the base and adapters of several widths, which come and go.
func TestWarmEngineCompilesNothing(t *testing.T) {
	for kind, context := range map[string]int{device.Go: 1500, device.XLA: 250} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := caseDir(twoAdapters)
			e := start(t, kind, filepath.Join(dir, "base"), Options{MaxRows: 6, MaxContext: context, Slots: 6, MaxRank: 2})
			if err := e.Warm(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := e.Stats().Compilations
			random := rand.New(rand.NewPCG(1, 2))
			for range 3 {
				var wg sync.WaitGroup
				for _, key := range []string{"a", "b"} {
					if err := e.LoadAdapter(t.Context(), key, filepath.Join(dir, "adapter")); err != nil {
						t.Fatal(err)
					}
				}
				for range 12 {
					req := Request{Adapter: []string{"", "a", "b"}[random.IntN(3)], MaxTokens: 1 + random.IntN(8)}
					req.Prompt = make([]int32, 1+random.IntN(random.IntN(context-20)+1))
					for i := range req.Prompt {
						req.Prompt[i] = random.Int32N(int32(e.vocab))
					}
					wg.Go(func() { collect(t, e, req) })
				}
				wg.Wait()
				e.UnloadAdapter("a")
			}
			if after := e.Stats().Compilations; after != before {
				t.Errorf("%d programs were compiled while serving", after-before)
			}
		})
	}
}

// foreign is a backend of which nothing is known, so that nothing but GoMLX's own operations is used.
type foreign struct{ compute.Backend }

// TestEveryWayToComputeAgrees compares the logits of rows that are alone in a batch (without adapters, or with the kernel or a slice of
// their columns) with those in batches of several sizes (without adapters, all of one adapter or of none, or the kernel or all columns and a
// mask). In bf16 the rounding of activations to 8 bits can fall the other way.
func TestEveryWayToComputeAgrees(t *testing.T) {
	for name, c := range map[string]struct {
		dtype, adapters string
		products        bool
		limit           float64
	}{
		"f32": {F32, F32, false, 1e-5}, "f32 in products": {F32, F32, true, 1e-5},
		"bf16": {BF16, BF16, false, 2e-2}, "bf16 in products": {BF16, BF16, true, 2e-2},
		"adapters in bf16": {F32, BF16, false, 1e-5}, "adapters in bf16, in products": {F32, BF16, true, 1e-5},
		"base in bf16": {BF16, F32, false, 2e-2}, "base in bf16, in products": {BF16, F32, true, 2e-2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := caseDir(twoAdapters)
			dev, err := device.Open(device.XLA)
			if err != nil {
				t.Fatal(err)
			}
			backend := dev.Backend()
			if c.products {
				backend = foreign{backend}
			}
			e, err := newEngine(backend, filepath.Join(dir, "base"), Options{MaxRows: 6, MaxContext: 64, Slots: 3, MaxRank: 6, DType: c.dtype, LoraDType: c.adapters})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(e.Close)
			if e.steps.plan.kernels == c.products || (e.steps.plan.width > 0) != c.products {
				t.Fatalf("kernels %v, a slice of %d columns", e.steps.plan.kernels, e.steps.plan.width)
			}
			for key, scale := range map[string]float64{"one": 1, "two": -2} {
				if err := e.LoadAdapter(t.Context(), key, scaled(t, filepath.Join(dir, "adapter"), scale)); err != nil {
					t.Fatal(err)
				}
			}
			if err := e.Warm(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := e.order(t.Context(), func() error { return compareBatches(t, e, c.limit) }); err != nil {
				t.Error(err)
			}
		})
	}
}

// compareBatches decodes one token of six rows in different company.
func compareBatches(t *testing.T, e *Engine, limit float64) error {
	adapters := []*adapter{e.adapters.byKey["one"], nil, e.adapters.byKey["two"], e.adapters.byKey["one"], nil, nil}
	var seqs []*sequence
	for row, a := range adapters {
		seq := newSequence(t.Context(), Request{Prompt: []int32{5, int32(row), 9, 11}}, a)
		seq.row = row
		if _, err := e.steps.prefill(seq, longest(seqs)); err != nil {
			return err
		}
		seq.ids = append(seq.ids, int32(20+row))
		seqs = append(seqs, seq)
	}
	var alone [][]float32
	for _, batch := range [][]int{{0}, {1}, {2}, {3}, {4}, {5}, {0, 1, 2, 3}, {0, 1, 3, 4}, {5, 4, 1}, {3, 0}, {0, 1, 2, 3, 4, 5}, {1, 2, 4, 5}, {5, 4, 3, 1, 0}} {
		var members []*sequence
		for _, i := range batch {
			members = append(members, seqs[i])
		}
		logits, err := e.steps.decode(members, longest(seqs))
		if err != nil {
			return err
		}
		for k, i := range batch {
			seqs[i].cached-- // the token goes again in the next batch
			if len(batch) == 1 {
				alone = append(alone, logits[k])
				continue
			}
			worst := 0.0
			for n, l := range logits[k] {
				worst = max(worst, math.Abs(float64(l-alone[i][n])))
			}
			if worst > limit {
				return fmt.Errorf("row %d in the batch %v: logits are %.2g off", i, batch, worst)
			}
		}
	}
	return nil
}
