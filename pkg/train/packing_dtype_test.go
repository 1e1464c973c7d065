package train

import (
	"testing"

	"descant/pkg/device"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
)

// TestPackedWith compares packed rows with the same rows apart where the products round to bf16, and where the backward
// pass computes the layers again: loss and gradient are those of the rows apart within the dtype's tolerance.
func TestPackedWith(t *testing.T) {
	t.Parallel()
	c := modeltest.Cases(t, "train.json")[0]
	for _, tt := range []struct {
		name        string
		kind        string
		load        func(*device.Device, string) (*model.Model, error)
		again       bool
		loss, limit float64
	}{
		// Packing adds up in another order, which flips some roundings: see flipLimit.
		{"bf16", device.XLA, model.LoadBF16, false, flipLossLimit, flipLimit},
		{"bf16 and gradient checkpointing", device.XLA, model.LoadBF16, true, flipLossLimit, flipLimit},
		{"gradient checkpointing", device.Go, model.Load, true, 1e-5, gradientLimit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dev := open(t, tt.kind)
			m, err := tt.load(dev, c.Base())
			if err != nil {
				t.Fatal(err)
			}
			a, err := lora.Load(m.Config, c.Dir+"/adapter")
			if err != nil {
				t.Fatal(err)
			}
			e, err := newLoraEngine(m, model.NewFastCompiler(dev.Backend()), a, adamW{})
			if err != nil {
				t.Fatal(err)
			}
			defer e.close()
			e.checkpointing = tt.again
			rows := sentences(9)
			apart, err := newBatches(rows, 0, 9, 1, 64, e.config.Vocab)
			if err != nil {
				t.Fatal(err)
			}
			packed, err := newBatches(rows, 0, 2, 1, 64, e.config.Vocab)
			if err != nil {
				t.Fatal(err)
			}
			packed.pack(48)
			wantLoss, want := ofStep(t, e, apart)
			loss, got := ofStep(t, e, packed)
			modeltest.NearNumber(t, "loss", loss, wantLoss, tt.loss)
			modeltest.Close(t, "gradient", got, want, tt.limit)
			t.Logf("the losses differ by %.2g, the gradients by %.2g", loss-wantLoss, modeltest.Distance(got, want))
		})
	}
}

// ofStep gives loss and gradient of the first step, which takes one micro-batch.
func ofStep(t *testing.T, e *engine, b *batches) (loss float64, gradient []float32) {
	t.Helper()
	list := b.step(0)
	if len(list) != 1 || len(list[0].index) != b.rows.Len() {
		t.Fatalf("%d micro-batches, the first one has %d rows of %d", len(list), len(list[0].index), b.rows.Len())
	}
	defer e.clearGradients()
	total, err := e.accumulate(list[0], 1/float64(len(list[0].places)), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, flat := range download(t, e.layers, (*group).gradient) {
		gradient = append(gradient, flat...)
	}
	return total / float64(len(list[0].places)), gradient
}
