package generate

import (
	"path/filepath"
	"testing"

	"descant/pkg/lora"
	"descant/pkg/model"
)

// scaled copies an adapter with its B matrices multiplied: another adapter for the same base.
func scaled(t *testing.T, dir string, factor float64) string {
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
			for i := range m.Out * m.Rank {
				a.Flats[layer][m.B+i] *= float32(factor)
			}
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
