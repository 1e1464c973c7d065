package lora_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"descant/pkg/lora"
	"descant/pkg/model"
)

// product is scale·B·A of a module by the definition, [Out, In] in float64, or nil where the adapter lacks the module.
func product(a *lora.Adapter, layer int, name string, scale func(lora.Module) (forA, forB float64)) (pa, pb []float64) {
	for _, m := range a.Layers[layer] {
		if m.Name == name {
			fa, fb := scale(m)
			pa, pb := make([]float64, m.Rank*m.In), make([]float64, m.Out*m.Rank)
			for i := range pa {
				pa[i] = fa * float64(a.Flats[layer][m.A+i])
			}
			for i := range pb {
				pb[i] = fb * float64(a.Flats[layer][m.B+i])
			}
			return pa, pb
		}
	}
	return nil, nil
}

func multiply(a, b []float64, m lora.Module) []float64 {
	out := make([]float64, m.Out*m.In)
	for o := range m.Out {
		for i := range m.In {
			for r := range m.Rank {
				out[o*m.In+i] += b[o*m.Rank+r] * a[r*m.In+i]
			}
		}
	}
	return out
}

// newAdapter makes an adapter with random numbers for a base of a parity case.
func newAdapter(t *testing.T, config string, seed int64) *lora.Adapter {
	t.Helper()
	cfg, err := model.ReadConfig(filepath.Join("..", "..", "testdata", "parity", "qwen2-untied", "base"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := lora.ParseConfig([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := lora.NewPlan(cfg, c)
	if err != nil {
		t.Fatal(err)
	}
	a := &lora.Adapter{Plan: plan, Flats: plan.Init(seed)}
	for layer := range a.Flats {
		for i := range a.Flats[layer] {
			a.Flats[layer][i] += float32(math.Sin(float64(seed) + float64(i))) // B is zero at first
		}
	}
	return a
}

// TestLinearIsThatOfPEFT compares the change of every module with the sums of the docstring, made here with numbers and
// loops of their own.
func TestLinearIsThatOfPEFT(t *testing.T) {
	t.Parallel()
	one := newAdapter(t, `{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q_proj","v_proj","down_proj"]}`, 1)
	two := newAdapter(t, `{"peft_type":"LORA","r":4,"lora_alpha":2,"target_modules":["v_proj","down_proj","o_proj"]}`, 2)
	weights := []float64{0.7, 1.5}
	sum, err := lora.Linear([]*lora.Adapter{one, two}, weights)
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for layer := range sum.Layers {
		if n := len(sum.Layers[layer]); n != 4 {
			t.Fatalf("layer %d has %d modules", layer, n)
		}
		for _, m := range sum.Layers[layer] {
			var a, b []float64
			for i, adapter := range []*lora.Adapter{one, two} {
				alpha := []float64{8, 2}[i]
				pa, pb := product(adapter, layer, m.Name, func(lora.Module) (float64, float64) {
					root := math.Sqrt(weights[i] * alpha / 4)
					return root, root
				})
				if pa == nil {
					continue
				}
				if a == nil {
					a, b = pa, pb
					continue
				}
				for k := range a {
					a[k] += pa[k]
				}
				for k := range b {
					b[k] += pb[k]
				}
			}
			want := multiply(a, b, m)
			pa, pb := product(sum, layer, m.Name, func(m lora.Module) (float64, float64) { return 1, m.Scale })
			for k, got := range multiply(pa, pb, m) {
				if math.Abs(got-want[k]) > 1e-5*(1+math.Abs(want[k])) {
					t.Fatalf("%s: element %d is %g, want %g", m.Name, k, got, want[k])
				}
				compared++
			}
		}
	}
	if compared == 0 {
		t.Error("nothing was compared")
	}
	// What is written is read back as the same.
	dir := t.TempDir()
	if err := sum.Save(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, lora.WeightsFile)); err != nil {
		t.Error(err)
	}
	again, err := lora.Load(mustConfig(t), dir)
	if err != nil {
		t.Fatal(err)
	}
	for layer := range sum.Layers {
		if sum.Signature(layer) == "" || len(again.Layers[layer]) != len(sum.Layers[layer]) || len(again.Flats[layer]) != len(sum.Flats[layer]) {
			t.Errorf("layer %d: %s, read back %s", layer, sum.Signature(layer), again.Signature(layer))
		}
	}
}

func mustConfig(t *testing.T) *model.Config {
	t.Helper()
	cfg, err := model.ReadConfig(filepath.Join("..", "..", "testdata", "parity", "qwen2-untied", "base"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestLinearRefuses(t *testing.T) {
	t.Parallel()
	four := newAdapter(t, `{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q_proj"]}`, 1)
	two := newAdapter(t, `{"peft_type":"LORA","r":2,"lora_alpha":8,"target_modules":["q_proj"]}`, 1)
	pattern := newAdapter(t, `{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q_proj"],"rank_pattern":{"q_proj":3}}`, 1)
	for name, c := range map[string]struct {
		adapters []*lora.Adapter
		weights  []float64
		want     string
	}{
		"nothing":          {nil, nil, "at least one"},
		"too few weights":  {[]*lora.Adapter{four, four}, []float64{1}, "one weight for each"},
		"ranks":            {[]*lora.Adapter{four, two}, []float64{1, 1}, "rank 2, the first one 4"},
		"rank of a module": {[]*lora.Adapter{four, pattern}, []float64{1, 1}, "rank 3"},
		"negative weight":  {[]*lora.Adapter{four, four}, []float64{1, -1}, "weight 2 is -1"},
		"no number":        {[]*lora.Adapter{four}, []float64{math.NaN()}, "weight 1 is NaN"},
	} {
		if _, err := lora.Linear(c.adapters, c.weights); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
