package generate

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"descant/pkg/device"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
)

// TestParityEngine compares an engine with the reference: the logits of every step, and greedy decoding. One engine
// serves both, since compiling it takes most of the time.
func TestParityEngine(t *testing.T) {
	for _, kind := range []string{device.XLA, device.Go} {
		for _, c := range modeltest.Cases(t, "generate.json") {
			t.Run(kind+"/"+c.Name, func(t *testing.T) {
				t.Parallel()
				plain, adapted := c.Tensors(t, "forward.safetensors"), c.Tensors(t, "adapter_forward.safetensors")
				batch := plain.Batch(t, "right")
				e := start(t, kind, c.Base(), Options{MaxRows: 2 * batch.Rows, MaxContext: 64, Slots: 2, MaxRank: 16})
				adapterDir := filepath.Join(c.Dir, "adapter")
				// Another adapter in the first columns, which must not be felt.
				for _, a := range [][2]string{{"other", scaled(t, adapterDir, -2)}, {"a", adapterDir}} {
					if err := e.LoadAdapter(t.Context(), a[0], a[1]); err != nil {
						t.Fatal(err)
					}
				}
				reference := [2][]float32{plain.F32(t, "right.logits"), adapted.F32(t, "right.logits")}
				err := e.order(t.Context(), func() error {
					return compareSteps(t, e.steps, batch, [2]*adapter{nil, e.adapters.byKey["a"]}, reference, 5e-5)
				})
				if err != nil {
					t.Error(err)
				}
				compareGreedy(t, e, c, "a")
			})
		}
	}
}

// compareSteps puts every row of the reference batch through the steps twice, without and with the adapter, all in
// one batch: the first tokens as a chunk, the others one by one. The logits behind every token must be those of the
// whole forward pass.
func compareSteps(t *testing.T, steps *stepper, batch model.Batch, adapters [2]*adapter, reference [2][]float32, limit float64) error {
	var seqs []*sequence
	var worst float64
	compared := 0
	compare := func(seq *sequence, logits []float32) {
		at := ((seq.row/2)*batch.Width + seq.cached - 1) * len(logits)
		for i, want := range reference[seq.row%2][at : at+len(logits)] {
			worst = max(worst, math.Abs(float64(logits[i]-want)))
		}
		compared++
	}
	for row := range 2 * batch.Rows {
		ids := rowIDs(batch, row/2)
		seq := newSequence(t.Context(), Request{Prompt: ids[:min(3, len(ids))]}, adapters[row%2])
		seq.row = row
		logits, err := steps.prefill(seq, longest(seqs))
		if err != nil {
			return err
		}
		compare(seq, logits)
		seqs = append(seqs, seq)
	}
	for width := 4; width <= batch.Width; width++ {
		var active []*sequence
		for _, seq := range seqs {
			if ids := rowIDs(batch, seq.row/2); len(ids) >= width {
				seq.ids = ids[:width]
				active = append(active, seq)
			}
		}
		logits, err := steps.decode(active, longest(seqs))
		if err != nil {
			return err
		}
		for i, seq := range active {
			compare(seq, logits[i])
		}
	}
	if worst > limit || compared < 2*batch.Width {
		return fmt.Errorf("logits of %d tokens are up to %.2g off", compared, worst)
	}
	return nil
}

// TestBF16IsNearTheReference serves a case whose weights are in bf16 anyway from bf16: what is rounded is the activations.
// The greedy answers are those of the reference up to where two tokens are closer than the rounding.
func TestBF16IsNearTheReference(t *testing.T) {
	t.Parallel()
	const limit = 0.1
	// The project's own case, whatever others are given: how far rounding moves logits is a fact of a model.
	c := modeltest.Case{Name: twoAdapters, Dir: filepath.Join("../../testdata/parity", twoAdapters)}
	plain, adapted := c.Tensors(t, "forward.safetensors"), c.Tensors(t, "adapter_forward.safetensors")
	batch := plain.Batch(t, "right")
	e := start(t, device.XLA, c.Base(), Options{MaxRows: 2 * batch.Rows, MaxContext: 64, Slots: 1, MaxRank: 4, DType: BF16})
	if err := e.LoadAdapter(t.Context(), "a", filepath.Join(c.Dir, "adapter")); err != nil {
		t.Fatal(err)
	}
	reference := [2][]float32{plain.F32(t, "right.logits"), adapted.F32(t, "right.logits")}
	err := e.order(t.Context(), func() error {
		return compareSteps(t, e.steps, batch, [2]*adapter{nil, e.adapters.byKey["a"]}, reference, limit)
	})
	if err != nil {
		t.Error(err)
	}
	var want struct {
		Prompts []struct {
			Prompt        []int32
			Base, Adapter struct {
				IDs []int32
				Gap []float64
			}
		}
	}
	c.JSON(t, "generate.json", &want)
	compared := 0
	for _, p := range want.Prompts {
		for key, answer := range map[string]struct {
			IDs []int32
			Gap []float64
		}{"": p.Base, "a": p.Adapter} {
			sure := slices.IndexFunc(answer.Gap, func(gap float64) bool { return gap < 2*limit })
			if sure < 0 {
				sure = len(answer.IDs)
			}
			if got := collect(t, e, Request{Adapter: key, Prompt: p.Prompt, MaxTokens: len(answer.IDs)})[:sure]; !slices.Equal(got, answer.IDs[:sure]) {
				t.Errorf("adapter %q: %v, want %v", key, got, answer.IDs[:sure])
			}
			compared += sure
		}
	}
	if compared < 10 {
		t.Errorf("only %d tokens are sure enough to be compared", compared)
	}
}

// rowIDs are the real tokens of a row that is padded on the right.
func rowIDs(b model.Batch, row int) []int32 {
	n := 0
	for n < b.Width && b.Valid[row*b.Width+n] {
		n++
	}
	return b.IDs[row*b.Width:][:n]
}

// compareGreedy checks generate.json.
func compareGreedy(t *testing.T, e *Engine, dir modeltest.Case, key string) {
	var c generateCase
	dir.JSON(t, "generate.json", &c)
	for _, p := range c.Prompts {
		req := Request{Prompt: p.Prompt, MaxTokens: c.NewTokens}
		if got := collect(t, e, req); !slices.Equal(got, p.Base.IDs) {
			t.Errorf("base: %v, want %v", got, p.Base.IDs)
		}
		req.Adapter = key
		if got := collect(t, e, req); !slices.Equal(got, p.Adapter.IDs) {
			t.Errorf("adapter: %v, want %v", got, p.Adapter.IDs)
		}
	}
	req := Request{Prompt: c.Stop.Prompt, MaxTokens: c.NewTokens, StopIDs: []int32{1 << 20, c.Stop.EOS}}
	if got := collect(t, e, req); !slices.Equal(got, c.Stop.IDs) {
		t.Errorf("stop: %v, want %v", got, c.Stop.IDs)
	}
	req = Request{Prompt: c.RepetitionPenalty.Prompt, MaxTokens: c.NewTokens,
		Sampling: Sampling{RepetitionPenalty: c.RepetitionPenalty.Penalty}}
	if got := collect(t, e, req); !slices.Equal(got, c.RepetitionPenalty.IDs) {
		t.Errorf("repetition penalty: %v, want %v", got, c.RepetitionPenalty.IDs)
	}
}
