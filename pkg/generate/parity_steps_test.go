package generate

import (
	"math"
	"path/filepath"
	"testing"

	"descant/pkg/device"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
)

// TestParityAdapterForward puts every row of the reference batch through the steps twice, without and with the
// adapter, all in one batch: the first tokens as a chunk, the others one by one. The logits behind every token must
// be those of the whole forward pass.
func TestParityAdapterForward(t *testing.T) {
	for _, kind := range []string{device.XLA, device.Go} {
		for _, c := range modeltest.Cases(t, "adapter_forward.safetensors") {
			t.Run(kind+"/"+c.Name, func(t *testing.T) {
				t.Parallel()
				plain, adapted := c.Tensors(t, "forward.safetensors"), c.Tensors(t, "adapter_forward.safetensors")
				reference := [][]float32{plain.F32(t, "right.logits"), adapted.F32(t, "right.logits")}
				batch := plain.Batch(t, "right")
				steps, a := newSteps(t, kind, c.Dir, 2*batch.Rows, batch.Width)
				var seqs []*sequence
				var worst float64
				check := func(seq *sequence, logits []float32) {
					at := ((seq.row/2)*batch.Width + seq.cached - 1) * len(logits)
					for i, want := range reference[seq.row%2][at : at+len(logits)] {
						worst = max(worst, math.Abs(float64(logits[i]-want)))
					}
				}
				for row := range 2 * batch.Rows {
					seq := newSequence(t.Context(), Request{Prompt: rowIDs(batch, row/2)[:3]}, []*adapter{nil, a}[row%2])
					seq.row = row
					logits, err := steps.prefill(seq, longest(seqs))
					if err != nil {
						t.Fatal(err)
					}
					check(seq, logits)
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
						t.Fatal(err)
					}
					for i, seq := range active {
						check(seq, logits[i])
					}
				}
				if worst > 5e-5 {
					t.Errorf("logits are %.2g off", worst)
				}
			})
		}
	}
}

// newSteps makes a stepper with the adapter of a case loaded.
func newSteps(t *testing.T, kind, dir string, rows, context int) (*stepper, *adapter) {
	t.Helper()
	base, err := model.Load(openDevice(t, kind), filepath.Join(dir, "base"))
	if err != nil {
		t.Fatal(err)
	}
	weights, width, err := readAdapter(base.Config, filepath.Join(dir, "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{MaxRows: rows, MaxContext: context, Slots: 1, MaxRank: width + 3}
	steps, err := newStepper(openDevice(t, kind).Backend(), base, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(steps.close)
	a := &adapter{key: "a", from: 2, to: 2 + width} // not the first columns
	if err := steps.adapters.write(a, weights); err != nil {
		t.Fatal(err)
	}
	return steps, a
}

// rowIDs are the real tokens of a row that is padded on the right.
func rowIDs(b model.Batch, row int) []int32 {
	n := 0
	for n < b.Width && b.Valid[row*b.Width+n] {
		n++
	}
	return b.IDs[row*b.Width:][:n]
}
