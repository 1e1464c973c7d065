package generate

import (
	"math"
	"path/filepath"
	"testing"

	"descant/pkg/device"
	"descant/pkg/model"
)

// TestPiecesOfTheHeadGiveTheSameLogits compares a head in pieces, the last of them smaller, with the whole one.
func TestPiecesOfTheHeadGiveTheSameLogits(t *testing.T) {
	t.Parallel()
	dev := openDevice(t, device.XLA)
	base, err := model.LoadBF16(dev, filepath.Join(caseDir("qwen2-tied"), "base"))
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	c, cfg := model.NewCompiler(dev.Backend()), base.Config
	values := make([]float32, 4*cfg.Hidden)
	for i := range values {
		values[i] = float32(i%7) - 3
	}
	x, err := model.Upload(dev.Backend(), values, 4, 1, cfg.Hidden)
	if err != nil {
		t.Fatal(err)
	}
	defer model.FreeAll(x)
	var all [][]float32
	for _, limit := range []int{cfg.Vocab * cfg.Hidden, 100 * cfg.Hidden} {
		heads, err := splitHead(c, base.Head, limit)
		if err != nil {
			t.Fatal(err)
		}
		if want := (cfg.Vocab*cfg.Hidden + limit - 1) / limit; len(heads) != want {
			t.Fatalf("%d pieces, want %d", len(heads), want)
		}
		plan := layerPlan{config: cfg, head: base.Head.Shape()}
		for _, head := range heads {
			plan.pieces = append(plan.pieces, head.Shape())
		}
		program, err := compileHead(c, plan, batchShape{4, 1})
		if err != nil {
			t.Fatal(err)
		}
		out, err := program.Run(append([]*model.Array{x, base.Norm}, heads...)...)
		if err != nil {
			t.Fatal(err)
		}
		logits, err := model.Download[float32](out[0])
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, logits)
		model.FreeAll(out...)
		program.Close()
		if len(heads) > 1 {
			model.FreeAll(heads...)
		}
	}
	for i, want := range all[0] {
		if math.Abs(float64(all[1][i]-want)) > 1e-5*(1+math.Abs(float64(want))) {
			t.Fatalf("logit %d is %g in pieces, %g whole", i, all[1][i], want)
		}
	}
}
