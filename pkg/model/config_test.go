package model_test

import (
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
		`"model_type":"gpt2"`:                                            "llama, mistral, qwen2, qwen3",
		`"model_type":"qwen2","hidden_act":"gelu"`:                       "supported: silu",
		`"model_type":"qwen2","use_sliding_window":true`:                 "full attention",
		`"model_type":"mistral","sliding_window":32`:                     "sliding_window 32",
		`"model_type":"qwen2","quantization_config":{}`:                  "unquantized",
		`"model_type":"llama","rope_scaling":{"type":"yarn"}`:            `"yarn"`,
		`"model_type":"llama","rope_scaling":{"rope_type":"llama3"}`:     "llama3 needs factor",
		`"model_type":"qwen2","layer_types":["sliding_attention"]`:       "sliding_attention",
		`"model_type":"qwen2","num_key_value_heads":3`:                   "not a multiple",
		`"model_type":"qwen2","head_dim":7`:                              "even number",
		`"model_type":"qwen2","vocab_size":"many"`:                       "vocab_size",
		`"model_type":"qwen2","attention_dropout":0.1,"hidden_act":"no"`: "attention_dropout 0.1",
	} {
		if _, err := model.ParseConfig([]byte("{" + base + "," + fields + "}")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, expected %q", fields, err, want)
		}
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
