package generate

import (
	"errors"
	"math"
	"path/filepath"
	"strings"
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
	trained := filepath.Join(caseDir(twoAdapters), "adapter")
	rounded := changed(t, trained, func(m lora.Module, flat []float32) {
		round := func(values []float32, scale float64) {
			for i, v := range values {
				near := bfloat16.FromFloat32(float32(float64(v) * scale))
				values[i] = float32(float64(near.Float32()) / scale)
			}
		}
		round(flat[m.A:m.A+m.Rank*m.In], 1)
		round(flat[m.B:m.B+m.Out*m.Rank], m.Scale) // the scale is in what is held
	})
	logits := func(dtype string, adapters ...string) (all [][]float32) {
		e := start(t, device.XLA, filepath.Join(caseDir(twoAdapters), "base"), Options{MaxRows: 1, MaxContext: 64, Slots: 2, MaxRank: 4, LoraDType: dtype})
		for _, dir := range adapters {
			if err := e.LoadAdapter(t.Context(), dir, dir); err != nil {
				t.Fatal(err)
			}
			list, err := e.Probe(t.Context(), dir, []int32{5, 7, 9, 11})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, list)
		}
		return all
	}
	held, exact := logits(BF16, trained)[0], logits(F32, rounded, trained)
	off := func(other []float32) (worst float64) {
		for n, l := range held {
			worst = max(worst, math.Abs(float64(l-other[n])))
		}
		return worst
	}
	if same, other := off(exact[0]), off(exact[1]); !(same <= 1e-5) || !(other > 10*same) {
		t.Errorf("logits are %g off those of the rounded adapter, %g off those of the trained one", same, other)
	}
}

// TestDTypeOfAdapters: what no engine can hold is refused by its name.
func TestDTypeOfAdapters(t *testing.T) {
	t.Parallel()
	base := filepath.Join(caseDir(twoAdapters), "base")
	if _, err := New(devicetest.Open(t, device.Go), base, Options{LoraDType: BF16}); !errors.Is(err, model.ErrNoBF16) || !strings.Contains(err.Error(), "dtype of adapters: ") {
		t.Errorf("in pure Go: %v", err)
	}
	if _, err := New(devicetest.Open(t, device.Go), base, Options{LoraDType: "f8"}); err == nil || err.Error() != `start engine: dtype of adapters is "f8": give f32 or bf16` {
		t.Errorf("in f8: %v", err)
	}
}
