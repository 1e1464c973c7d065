package lora

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"descant/pkg/model"
	"descant/pkg/safetensors"
)

// TestInspect: what is wrong with an adapter is told whole.
func TestInspect(t *testing.T) {
	t.Parallel()
	cfg := tiny(t)
	plan, err := NewPlan(cfg, &Config{R: 2, Alpha: 4, Targets: []string{"q_proj"}})
	if err != nil {
		t.Fatal(err)
	}
	good := &Adapter{Plan: plan, Flats: plan.Init(1)}
	for name, tt := range map[string]struct {
		config  string // replaces the file
		tensors func([]safetensors.Tensor) []safetensors.Tensor
		want    []string
	}{
		"good": {},
		"features": {config: `{"peft_type":"LORA","r":0,"lora_alpha":4,"target_modules":["q_proj"],"use_dora":true,"modules_to_save":["lm_head"]}`,
			tensors: func(list []safetensors.Tensor) []safetensors.Tensor {
				return append(list, safetensors.Tensor{Name: "base_model.model.lm_head.weight", DType: safetensors.F32, Shape: []int{1}, Data: make([]byte, 4)})
			}, want: []string{"use_dora is true", "modules_to_save is [lm_head]", "r 0 is not above 0", "base_model.model.lm_head.weight belongs to no LoRA matrix"}},
		"rank": {config: `{"peft_type":"LORA","r":3,"lora_alpha":4,"target_modules":["q_proj"]}`,
			want: []string{"layers.0.self_attn.q_proj.lora_A.weight is [2 16], expected [3 16]", "layers.1.self_attn.q_proj.lora_B.weight is [16 2], expected [16 3]"}},
		"not finite": {tensors: func(list []safetensors.Tensor) []safetensors.Tensor {
			list[0].Data = model.AsBytes(append([]float32{float32(math.Inf(1))}, make([]float32, 31)...))
			return list
		}, want: []string{"no finite number"}},
		"missing": {tensors: func(list []safetensors.Tensor) []safetensors.Tensor { return list[1:] }, want: []string{"lora_A.weight [2 16] is missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := good.Save(dir); err != nil {
				t.Fatal(err)
			}
			if tt.config != "" {
				if err := os.WriteFile(filepath.Join(dir, ConfigFile), []byte(tt.config), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if tt.tensors != nil {
				if err := safetensors.Write(filepath.Join(dir, WeightsFile), tt.tensors(plan.Tensors(good.Flats)), nil); err != nil {
					t.Fatal(err)
				}
			}
			_, problems := Inspect(cfg, dir)
			text := strings.Join(problems, "\n")
			if len(tt.want) == 0 && len(problems) > 0 {
				t.Errorf("a good adapter has problems:\n%s", text)
			}
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in:\n%s", want, text)
				}
			}
		})
	}
}
