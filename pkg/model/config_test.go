package model_test

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"descant/pkg/device"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
	"descant/pkg/safetensors"
)

const base = `"vocab_size":50,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,"num_attention_heads":4,
	"num_key_value_heads":2,"max_position_embeddings":64`

func TestConfigRefused(t *testing.T) {
	t.Parallel()
	for fields, want := range map[string]string{
		`"model_type":"gpt2"`:                                                       "llama, mistral, qwen2, qwen3",
		`"model_type":"qwen2","hidden_act":"gelu"`:                                  "supported: silu",
		`"model_type":"Yi"`:                                                         "Yi in the Llama layout",
		`"model_type":"mistral","sliding_window":0`:                                 "sliding_window 0 is not above 0",
		`"model_type":"llama","layer_types":["full_attention"]`:                     "layer_types names 1 layers, num_hidden_layers is 2",
		`"model_type":"llama","rope_scaling":{"type":"linear"}`:                     "linear needs factor",
		`"model_type":"llama","rope_scaling":{"type":"dynamic"}`:                    "dynamic needs factor",
		`"model_type":"qwen2","quantization_config":{}`:                             "unquantized",
		`"model_type":"llama","rope_scaling":{"type":"yarn"}`:                       `"yarn"`,
		`"model_type":"llama","rope_scaling":{"rope_type":"llama3"}`:                "llama3 needs factor",
		`"model_type":"qwen2","layer_types":["sliding_attention","full_attention"]`: "says sliding_attention for layer 0",
		`"model_type":"qwen2","layer_types":["chunked_attention","full_attention"]`: "chunked_attention",
		`"model_type":"qwen2","num_key_value_heads":3`:                              "not a multiple",
		`"model_type":"qwen2","head_dim":7`:                                         "even number",
		`"model_type":"qwen2","vocab_size":"many"`:                                  "vocab_size",
		`"model_type":"qwen2","attention_dropout":0.1,"hidden_act":"no"`:            "attention_dropout 0.1",
	} {
		if _, err := model.ParseConfig([]byte("{" + base + "," + fields + "}")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, expected %q", fields, err, want)
		}
	}
}

// TestWindows reads the sliding windows of all layouts.
func TestWindows(t *testing.T) {
	t.Parallel()
	for fields, want := range map[string][]int{
		`"model_type":"qwen2"`:                    {0, 0},
		`"model_type":"qwen2","sliding_window":8`: {0, 0},
		`"model_type":"qwen2","sliding_window":8,"use_sliding_window":true,"max_window_layers":1`:    {0, 8},
		`"model_type":"qwen2","sliding_window":8,"use_sliding_window":true`:                          {0, 0}, // max_window_layers 28
		`"model_type":"qwen2","sliding_window":null,"use_sliding_window":true,"max_window_layers":0`: {0, 0},
		`"model_type":"qwen3","use_sliding_window":true,"max_window_layers":0`:                       {4096, 4096},
		`"model_type":"qwen3","sliding_window":8,"use_sliding_window":true,
			"layer_types":["sliding_attention","full_attention"]`: {8, 0},
		`"model_type":"mistral","sliding_window":8`:    {8, 8},
		`"model_type":"mistral","sliding_window":null`: {0, 0},
		`"model_type":"mistral"`:                       {4096, 4096},
		`"model_type":"llama","sliding_window":8`:      {0, 0},
	} {
		c, err := model.ParseConfig([]byte("{" + base + "," + fields + "}"))
		if err != nil {
			t.Errorf("%s: %v", fields, err)
			continue
		}
		if c.Window(0) != want[0] || c.Window(1) != want[1] {
			t.Errorf("%s: windows %d and %d, expected %v", fields, c.Window(0), c.Window(1), want)
		}
	}
}

// TestDefaults: what config.json leaves out is what the reference puts in its place, family by family.
func TestDefaults(t *testing.T) {
	t.Parallel()
	without := strings.Replace(base, `"num_key_value_heads":2,`, "", 1)
	for family, want := range map[string]string{"llama": "", "mistral": "num_key_value_heads 8", "qwen2": "num_key_value_heads 32"} {
		_, err := model.ParseConfig([]byte(`{` + without + `,"model_type":"` + family + `"}`))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s without num_key_value_heads: %v, expected %q", family, err, want)
		}
	}
	c, err := model.ParseConfig([]byte(`{` + base + `,"model_type":"llama","rope_parameters":{"rope_theta":5000000.0,"rope_type":"default"}}`))
	if err != nil || c.Rope.Theta != 5e6 || c.KVHeads != 2 || c.HeadDim != 4 {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestDynamicRope: up to the model's positions nothing changes, beyond them the base grows.
func TestDynamicRope(t *testing.T) {
	t.Parallel()
	c, err := model.ParseConfig([]byte(`{` + base + `,"model_type":"llama","rope_scaling":{"rope_type":"dynamic","factor":2.0}}`))
	if err != nil {
		t.Fatal(err)
	}
	if c.MaxContext() != 128 || c.MaxPositions != 64 {
		t.Errorf("context %d of %d positions", c.MaxContext(), c.MaxPositions)
	}
	// Base · (factor·length/positions - (factor-1))^(dim/(dim-2)) = 10000 · 3² at twice the positions.
	if got, want := c.Rope.For(128).InvFreq[1], float32(1)/300; math.Abs(float64(got-want)) > 1e-9 {
		t.Errorf("second frequency is %g, expected %g", got, want)
	}
	if got := c.Rope.For(64).InvFreq[1]; got != 0.01 {
		t.Errorf("second frequency within the positions is %g, expected 0.01", got)
	}
}

// TestTensorProblems damages a checkpoint in three ways and expects all of them in one error.
func TestTensorProblems(t *testing.T) {
	t.Parallel()
	c := modeltest.Cases(t, "forward.json")[0]
	set, err := safetensors.OpenDir(c.Base())
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	dir := t.TempDir()
	var list []safetensors.Tensor
	for _, name := range set.Names() {
		info, _ := set.Info(name)
		tensor := safetensors.Tensor{Name: name, DType: info.DType, Shape: info.Shape, Data: set.Bytes(name)}
		switch name {
		case model.NormName:
			tensor.Name = "model.surplus.weight"
		case "model.layers.0.mlp.up_proj.weight":
			tensor.Shape = []int{info.Shape[1], info.Shape[0]}
		}
		list = append(list, tensor)
	}
	if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), list, nil); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(c.Base(), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	dev, err := device.Open(device.Go)
	if err != nil {
		t.Fatal(err)
	}
	_, err = model.Load(dev, dir)
	if err == nil {
		t.Fatal("a damaged checkpoint was loaded")
	}
	for _, want := range []string{"model.norm.weight [", "is missing", "model.surplus.weight is not part", "model.layers.0.mlp.up_proj.weight is ["} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}
