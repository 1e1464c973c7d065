package train

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"descant/pkg/device"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
)

// TestParityLoraPlus follows a run with PEFT's create_loraplus_optimizer and weight decay.
func TestParityLoraPlus(t *testing.T) {
	dir := filepath.Join("..", "..", "testdata", "optim")
	data, err := os.ReadFile(filepath.Join(dir, "loraplus.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want struct {
		Case  string  `json:"case"`
		Ratio float64 `json:"loraplus_lr_ratio"`
		referenceRun
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	c := modeltest.Case{Name: want.Case, Dir: filepath.Join("..", "..", "testdata", "parity", want.Case)}
	for _, dev := range modeltest.Devices(t) {
		t.Run(dev.Kind(), func(t *testing.T) {
			t.Parallel()
			optimizer := want.adamW()
			optimizer.ratio = want.Ratio
			e := loraEngine(t, dev, c, "train_init", optimizer)
			followRun(t, e, want.referenceRun, 2, want.width())
			trained := download(t, e.layers, func(g *group) *model.Array { return g.value })
			final := modeltest.OpenTensors(t, filepath.Join(dir, "loraplus_final.safetensors"))
			compareTensors(t, e.target.(*loraTarget).plan.Tensors(trained), final, finalLimit)
		})
	}
}

// TestNoise looks at NEFTune's numbers: bounded by alpha/√(L·d) of each row, evenly spread, none at padding, and the
// same for the same seed alone.
func TestNoise(t *testing.T) {
	t.Parallel()
	dev, err := device.Open(device.Go)
	if err != nil {
		t.Fatal(err)
	}
	c := modeltest.Cases(t, "train.json")[0]
	e := loraEngine(t, dev, c, "train_init", adamW{})
	batch := &microBatch{rows: 2, width: 64, ids: make([]int32, 128)}
	row := make([]int32, 64)
	batch.put(0, row, row)
	batch.put(1, row[:16], row[:16])
	hidden := e.config.Hidden
	noise := func(alpha float64, seed uint64) []float32 {
		t.Helper()
		e.noise = alpha
		zeros, err := model.Upload(dev.Backend(), make([]float32, 128*hidden), 2, 64, hidden)
		if err != nil {
			t.Fatal(err)
		}
		p := &passed{batch: batch, inputs: []*model.Array{zeros}}
		if err := e.addNoise(p, seed); err != nil {
			t.Fatal(err)
		}
		defer model.FreeAll(p.inputs...)
		values, err := model.Download[float32](p.inputs[0])
		if err != nil {
			t.Fatal(err)
		}
		return values
	}
	values := noise(5, 1)
	for r, d := range batch.documents {
		part := values[d.start*hidden : (d.start+d.length)*hidden]
		bound := 5 / math.Sqrt(float64(d.length*hidden))
		sum, squares, largest := 0.0, 0.0, 0.0
		for _, v := range part {
			sum, squares, largest = sum+float64(v), squares+float64(v)*float64(v), max(largest, math.Abs(float64(v)))
		}
		n := float64(len(part))
		// Five standard deviations of the mean of n numbers that are uniform in ±bound, and of their squares.
		if largest > bound*(1+1e-6) || math.Abs(sum/n) > 5*bound/math.Sqrt(3*n) || math.Abs(squares/n-bound*bound/3) > 5*bound*bound*math.Sqrt(4.0/45/n) {
			t.Errorf("row %d: largest %g of %g, mean %g, mean square %g of %g", r, largest, bound, sum/n, squares/n, bound*bound/3)
		}
	}
	if padding := values[(64+16)*hidden:]; slices.ContainsFunc(padding, func(v float32) bool { return v != 0 }) {
		t.Error("there is noise at padding")
	}
	if !slices.Equal(values, noise(5, 1)) {
		t.Error("the same seed gave other noise")
	}
	if slices.Equal(values, noise(5, 2)) {
		t.Error("another seed gave the same noise")
	}
}

// TestResumeOptimisation stops a run with NEFTune, LoRA+, dropout and weight decay, and goes on: the same adapter to
// the last bit.
func TestResumeOptimisation(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 6)
	cfg.Training.LoraDropout, cfg.Training.NEFTuneAlpha, cfg.Training.LoraPlusLRRatio, cfg.Training.WeightDecay = 0.1, 5, 8, 0.01
	whole, resumed := runAndResume(t, cfg, 2)
	equalAdapters(t, whole, resumed)

	// Each of the settings changes the result.
	for name, change := range map[string]func(){
		"neftune_noise_alpha": func() { cfg.Training.NEFTuneAlpha = 0 },
		"loraplus_lr_ratio":   func() { cfg.Training.LoraPlusLRRatio = 1 },
		"weight_decay":        func() { cfg.Training.WeightDecay = 0 },
	} {
		before := cfg.Training
		change()
		cfg.Dir = t.TempDir()
		other := mustRun(t, cfg)
		if string(read(t, whole.AdapterDir, lora.WeightsFile)) == string(read(t, other.AdapterDir, lora.WeightsFile)) {
			t.Errorf("%s changes nothing", name)
		}
		cfg.Training = before
	}
}
