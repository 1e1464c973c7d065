package generate

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"descant/pkg/device"
	"descant/pkg/model/modeltest"
)

// TestParityCombination compares weighted sums of two adapters of different modules and alphas with those that PEFT makes
// (add_weighted_adapter, combination_type "linear"): the logits of every step, and greedy answers.
func TestParityCombination(t *testing.T) {
	t.Parallel()
	combined := modeltest.Case{Name: "combined", Dir: filepath.Join("..", "..", "testdata", "combined")}
	var want struct {
		Case string
		Sums []struct {
			Weights     []float64
			Prompt, IDs []int32
		}
	}
	combined.JSON(t, "combinations.json", &want)
	dir := filepath.Join("..", "..", "testdata", "parity", want.Case)
	batch := (modeltest.Case{Name: want.Case, Dir: dir}).Tensors(t, "forward.safetensors").Batch(t, "right")
	e := start(t, device.Go, filepath.Join(dir, "base"), Options{MaxRows: 2 * batch.Rows, MaxContext: 64, Slots: 2, MaxRank: 4})
	one, err := e.ReadAdapter(filepath.Join(dir, "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := e.ReadAdapter(filepath.Join(combined.Dir, "other"))
	if err != nil {
		t.Fatal(err)
	}
	var reference [2][]float32
	for i, sum := range want.Sums {
		key := fmt.Sprint("sum-", i)
		weights, err := Combine(Part{one, sum.Weights[0]}, Part{other, sum.Weights[1]})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Load(t.Context(), key, weights); err != nil {
			t.Fatal(err)
		}
		reference[i] = combined.Tensors(t, "forward.safetensors").F32(t, "right.logits."+fmt.Sprint(i))
		if got := collect(t, e, Request{Adapter: key, Prompt: sum.Prompt, MaxTokens: len(sum.IDs)}); !slices.Equal(got, sum.IDs) {
			t.Errorf("weights %v: %v, want %v", sum.Weights, got, sum.IDs)
		}
	}
	err = e.order(t.Context(), func() error {
		return compareSteps(t, e.steps, batch, [2]*adapter{e.adapters.byKey["sum-0"], e.adapters.byKey["sum-1"]}, reference, 5e-5)
	})
	if err != nil {
		t.Error(err)
	}
}
