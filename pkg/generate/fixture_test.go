package generate

import (
	"path/filepath"
	"testing"

	"descant/pkg/device"
	"descant/pkg/lora"
	"descant/pkg/model"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// computed gives the results of a graph of arrays, which it frees, flat: with the kernels of [device.WithKernels], which must be there, or
// without.
func computed(t *testing.T, dev *device.Device, kernels bool, arrays []*model.Array, build func(in []*Node) []*Node) (all [][]float32, err error) {
	t.Helper()
	defer func() { model.FreeAll(arrays...) }()
	compiler := model.NewCompiler(dev.Backend())
	if kernels {
		compiler = model.NewFastCompiler(dev.Backend())
	}
	if device.HasKernels(compiler.Backend()) != kernels {
		t.Fatal("the plugin that is installed here takes no kernels")
	}
	var list []shapes.Shape
	for _, a := range arrays {
		list = append(list, a.Shape())
	}
	program, err := compiler.Compile(t.Name(), list, func(_ *Graph, in []*Node) []*Node { return build(in) })
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	results, err := program.Run(arrays...)
	if err != nil {
		return nil, err
	}
	defer model.FreeAll(results...)
	for _, r := range results {
		values, err := model.Download[float32](r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, values)
	}
	return all, nil
}

// uploaded is an array on the device.
func uploaded[T model.Number](t *testing.T, dev *device.Device, values []T, dims ...int) *model.Array {
	t.Helper()
	a, err := model.Upload(dev.Backend(), values, dims...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// scaled copies an adapter with its B matrices multiplied: another adapter for the same base.
func scaled(t *testing.T, dir string, factor float64) string {
	t.Helper()
	return changed(t, dir, func(m lora.Module, flat []float32) {
		for i := range m.Out * m.Rank {
			flat[m.B+i] *= float32(factor)
		}
	})
}

// changed copies an adapter, with every module of a layer's flat array changed.
func changed(t *testing.T, dir string, change func(m lora.Module, flat []float32)) string {
	t.Helper()
	cfg, err := model.ReadConfig(filepath.Join(filepath.Dir(dir), "base"))
	if err != nil {
		t.Fatal(err)
	}
	a, err := lora.Load(cfg, dir)
	if err != nil {
		t.Fatal(err)
	}
	for layer, modules := range a.Layers {
		for _, m := range modules {
			change(m, a.Flats[layer])
		}
	}
	out := t.TempDir()
	if err := a.Save(out); err != nil {
		t.Fatal(err)
	}
	return out
}

// small makes an adapter of two modules for a base.
func small(t *testing.T, base string) string {
	t.Helper()
	cfg, err := model.ReadConfig(base)
	if err != nil {
		t.Fatal(err)
	}
	c, err := lora.ParseConfig([]byte(`{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q_proj","v_proj"]}`))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := lora.NewPlan(cfg, c)
	if err != nil {
		t.Fatal(err)
	}
	a := &lora.Adapter{Plan: plan, Flats: plan.Init(3)}
	for layer, modules := range a.Layers {
		for _, m := range modules {
			for i := range m.Out * m.Rank {
				a.Flats[layer][m.B+i] = float32(i%5) - 2 // zero at first
			}
		}
	}
	out := t.TempDir()
	if err := a.Save(out); err != nil {
		t.Fatal(err)
	}
	return out
}
