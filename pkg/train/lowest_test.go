package train

import (
	"slices"
	"testing"

	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
)

// TestLowestLayer adapts the upper layers only. No gradient is taken below them, and theirs are the same to the last
// bit as beside adapters on all layers, which at first change nothing.
func TestLowestLayer(t *testing.T) {
	t.Parallel()
	dev := open(t, device.Go)
	base := modeltest.Cases(t, "full_train.json")[0].Base()
	gradients := func(layers []int) (*engine, [][]float32) {
		t.Helper()
		m, err := model.Load(dev, base)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := lora.NewPlan(m.Config, &lora.Config{R: 4, Alpha: 8, Targets: job.TargetModules{lora.AllLinear}, Layers: layers})
		if err != nil {
			t.Fatal(err)
		}
		e, err := newLoraEngine(m, model.NewFastCompiler(dev.Backend()), &lora.Adapter{Plan: plan, Flats: plan.Init(1)}, adamW{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.close)
		b := &microBatch{rows: 1, width: 16, ids: make([]int32, 16)}
		b.put(0, []int32{5, 9, 2, 7, 1}, []int32{5, 9, 2, 7, 1})
		if _, err := e.accumulate(b, 0.25, 0); err != nil {
			t.Fatal(err)
		}
		return e, download(t, e.layers, (*group).gradient)
	}
	_, all := gradients(nil)
	last := len(all) - 1
	upper, some := gradients([]int{last})
	if got := upper.lowest(); got != last {
		t.Errorf("lowest layer %d, expected %d", got, last)
	}
	if some[0] != nil || !slices.Equal(some[last], all[last]) {
		t.Error("the gradient of the last layer is another one without adapters below")
	}
	if !slices.ContainsFunc(some[last], func(v float32) bool { return v != 0 }) {
		t.Error("there is no gradient at all")
	}
}
