package train

import (
	"context"
	"testing"

	"descant/pkg/device"
	"descant/pkg/lora"
	"descant/pkg/model/modeltest"
)

// TestGradientCheckpointing trains with and without what the forward pass keeps: the adapters must agree to 1e-6, also
// with dropout, which has to drop the same elements when a layer is computed again.
func TestGradientCheckpointing(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{device.Go, device.XLA} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			cfg := settings(t, 3)
			cfg.Device = open(t, kind)
			cfg.Training.LoraDropout = 0.2
			kept := trained(t, cfg)
			cfg.Training.GradientCheckpointing, cfg.Dir = true, t.TempDir()
			again := trained(t, cfg)
			modeltest.NearNumber(t, "final loss", again.FinalLoss, kept.FinalLoss, 1e-6)
			want := modeltest.OpenTensors(t, kept.AdapterDir+"/"+lora.WeightsFile)
			got := modeltest.OpenTensors(t, again.AdapterDir+"/"+lora.WeightsFile)
			for _, name := range want.Names() {
				modeltest.Near(t, name, got.F32(t, name), want.F32(t, name), 1e-6)
			}
		})
	}
}

// TestGradientCheckpointingKeeps looks at what a forward pass leaves: nothing but the layers' inputs.
func TestGradientCheckpointingKeeps(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{false, true} {
		cfg := settings(t, 1)
		cfg.Training.GradientCheckpointing = on
		r := &run{cfg: cfg}
		if err := r.prepare(); err != nil {
			t.Fatal(err)
		}
		defer r.engine.close()
		p, err := r.engine.forward(r.batches.step(0)[0], 0)
		if err != nil {
			t.Fatal(err)
		}
		defer p.free()
		want := savedPerLayer
		if on {
			want = 0
		}
		for i, saved := range p.saved {
			if len(saved) != want {
				t.Errorf("gradient_checkpointing %v: layer %d keeps %d values, expected %d", on, i, len(saved), want)
			}
		}
	}
}

func trained(t *testing.T, cfg Config) *Result {
	t.Helper()
	result, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return result
}
