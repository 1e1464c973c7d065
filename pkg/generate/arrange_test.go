package generate

import (
	"math"
	"path/filepath"
	"slices"
	"testing"

	"descant/pkg/device"
	"descant/pkg/model"
)

// TestPiecesOfWideMatricesGiveTheSameLogits cuts matrices into three unequal pieces and compares the logits behind a prompt.
func TestPiecesOfWideMatricesGiveTheSameLogits(t *testing.T) {
	t.Parallel()
	dev := openDevice(t, device.XLA)
	dir := filepath.Join(caseDir("qwen2-tied"), "base")
	var all [][]float32
	for _, limit := range []int{widest, 30} {
		base, err := model.LoadBF16(dev, dir)
		if err != nil {
			t.Fatal(err)
		}
		opts, err := Options{MaxRows: 2, Slots: -1, DType: BF16, MaxContext: 64}.withDefaults(base.Config)
		if err != nil {
			t.Fatal(err)
		}
		s, err := newStepper(dev.Backend(), base, opts, arrangement{widest: limit})
		if err != nil {
			t.Fatal(err)
		}
		whole := slices.ContainsFunc(s.plan.weights, func(w weight) bool { return w.name == "mlp.down_proj.weight" })
		cut := slices.ContainsFunc(s.plan.weights, func(w weight) bool { return w.name == piece("mlp.down_proj.weight", 2) })
		if whole != (limit == widest) || cut == whole {
			t.Errorf("limit %d: whole %v, three pieces %v", limit, whole, cut)
		}
		logits, err := s.prefill(&sequence{ids: []int32{5, 9, 17, 3}, req: Request{MaxTokens: 1}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, logits)
		s.close()
	}
	for i, want := range all[0] {
		if math.Abs(float64(all[1][i]-want)) > 1e-4*(1+math.Abs(float64(want))) {
			t.Fatalf("logit %d is %g in pieces, %g whole", i, all[1][i], want)
		}
	}
}
