package generate

import (
	"errors"
	"math"
	"path/filepath"
	"testing"

	"descant/pkg/device"
	"descant/pkg/device/devicetest"
	"descant/pkg/lora"
	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes/bfloat16"
)

// TestAdaptersInBF16 compares an adapter that an engine in f32 holds in bf16 with one whose matrices were rounded before: nothing else is rounded. The adapter as
// it was trained gives other logits.
func TestAdaptersInBF16(t *testing.T) {
	t.Parallel()
	dir := caseDir(twoAdapters)
	base, trained := filepath.Join(dir, "base"), filepath.Join(dir, "adapter")
	var logits [][]float32
	for _, c := range []struct{ dtype, adapter string }{{BF16, trained}, {F32, rounded(t, base, trained)}, {F32, trained}} {
		e := start(t, device.XLA, base, Options{MaxRows: 1, MaxContext: 64, Slots: 1, MaxRank: 4, LoraDType: c.dtype})
		if err := e.LoadAdapter(t.Context(), "a", c.adapter); err != nil {
			t.Fatal(err)
		}
		list, err := e.Probe(t.Context(), "a", []int32{5, 7, 9, 11})
		if err != nil {
			t.Fatal(err)
		}
		logits = append(logits, list)
	}
	off := func(i int) (worst float64) {
		for n, l := range logits[0] {
			worst = max(worst, math.Abs(float64(l-logits[i][n])))
		}
		return worst
	}
	if same, other := off(1), off(2); !(same <= 1e-5) || !(other > 10*same) {
		t.Errorf("logits are %g off those of the rounded adapter, %g off those of the trained one", same, other)
	}
}

// rounded writes an adapter whose matrices A, and B times the scale, are those of another in bf16.
func rounded(t *testing.T, base, adapter string) string {
	t.Helper()
	cfg, err := model.ReadConfig(base)
	if err != nil {
		t.Fatal(err)
	}
	a, err := lora.Load(cfg, adapter)
	if err != nil {
		t.Fatal(err)
	}
	for layer, modules := range a.Layers {
		for _, m := range modules {
			round := func(from, n int, scale float64) {
				for i := from; i < from+n; i++ {
					near := bfloat16.FromFloat32(float32(float64(a.Flats[layer][i]) * scale))
					a.Flats[layer][i] = float32(float64(near.Float32()) / scale)
				}
			}
			round(m.A, m.Rank*m.In, 1)
			round(m.B, m.Out*m.Rank, m.Scale)
		}
	}
	out := t.TempDir()
	if err := a.Save(out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestDTypeOfAdapters: what no engine can hold is refused by its name.
func TestDTypeOfAdapters(t *testing.T) {
	t.Parallel()
	base := filepath.Join(caseDir(twoAdapters), "base")
	if _, err := New(devicetest.Open(t, device.Go), base, Options{LoraDType: BF16}); !errors.Is(err, model.ErrNoBF16) {
		t.Errorf("in pure Go: %v", err)
	}
	if _, err := New(devicetest.Open(t, device.Go), base, Options{LoraDType: "f8"}); err == nil || err.Error() != `start engine: dtype of adapters is "f8": give f32 or bf16` {
		t.Errorf("in f8: %v", err)
	}
}
