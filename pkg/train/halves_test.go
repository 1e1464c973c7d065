package train

import (
	"context"
	"path/filepath"
	"testing"

	"descant/pkg/device"
	"descant/pkg/hub/hubtest"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
)

// storedInBF16 makes a base that is stored in bf16, with dimensions that the kernels take.
func storedInBF16(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "base")
	shape := hubtest.Shape{Hidden: 128, Intermediate: 192, Layers: 2, Heads: 4, KVHeads: 2, Vocab: 3072, MaxPositions: 128}
	if err := hubtest.MakeCheckpoint(dir, "../../models/tiny", shape); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestHalves compares a step with a base in halves with the same in f32: the numbers are the same but for the order of sums, with all
// logits in one piece and in several, with the layers computed again and not.
func TestHalves(t *testing.T) {
	t.Parallel()
	dev := open(t, device.XLA)
	dir := storedInBF16(t)
	step := func(load func(compute.Backend, string) (*model.Model, error), again bool) (dtypes.DType, float64, []float32) {
		m, err := load(dev.Backend(), dir)
		if err != nil {
			t.Fatal(err)
		}
		training := settings(t, 1).Training
		plan, err := lora.PlanTraining(m.Config, training, "base")
		if err != nil {
			t.Fatal(err)
		}
		a := &lora.Adapter{Plan: plan, Flats: plan.Init(3)}
		for _, flat := range a.Flats {
			for i := range flat {
				flat[i] += float32(i%7-3) / 50 // B is zero at first
			}
		}
		e, err := newLoraEngine(m, model.NewFastCompiler(dev.Backend()), a, adamW{})
		if err != nil {
			t.Fatal(err)
		}
		defer e.close()
		e.checkpointing = again
		rows := sentences(40)
		b, err := newBatches(rows, 0, 40, 1, 64, e.config.Vocab)
		if err != nil {
			t.Fatal(err)
		}
		loss, gradient := ofStep(t, e, b)
		return m.DType(), loss, gradient
	}
	_, wantLoss, want := step(model.LoadOn, false)
	for _, again := range []bool{false, true} {
		dtype, loss, got := step(model.LoadHalvesOn, again)
		if has := device.HasHalves(device.Fastest(dev.Backend())); (dtype == model.Halves) != has {
			t.Fatalf("the base is in %s, on a device that has halves: %t", dtype, has)
		}
		modeltest.NearNumber(t, "loss", loss, wantLoss, 1e-5)
		modeltest.Close(t, "gradient", got, want, gradientLimit)
		t.Logf("the losses differ by %.2g, the gradients by %.2g", loss-wantLoss, modeltest.Distance(got, want))
	}
}

// TestResumeHalves resumes a run on such a base: the adapter is the same to the last bit.
func TestResumeHalves(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 3)
	cfg.Device, cfg.BaseDir = open(t, device.XLA), storedInBF16(t)
	rows := sentences(28)
	cfg.Rows = table{rows[0], rows[9], rows[18], rows[27]} // of one length: fewer programs
	whole, resumed := runAndResume(t, cfg, 1)
	equalAdapters(t, whole, resumed)
	v, err := NewEvaluator(cfg.Device, cfg.BaseDir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	var losses [2]float64
	for i, dir := range []string{"", whole.AdapterDir} {
		rows, err := v.Losses(context.Background(), dir, cfg.Rows, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			losses[i] += row.NLL
		}
	}
	if !(losses[1] < losses[0]) {
		t.Errorf("the loss of the rows is %g after the training, %g before", losses[1], losses[0])
	}
}
