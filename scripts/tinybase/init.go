package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"descant/pkg/safetensors"
)

// initialise writes config.json and the first weights: a normal distribution with deviation 0.05 for the
// embedding and 1/√inputs for matrices, so that attention is not flat at the start (those that write into the
// residual stream divided by the root of twice the layers, as in GPT-2), ones for norms, zeros for biases.
func initialise(_ context.Context, o options) error {
	s := recipe.shape
	config := map[string]any{
		"architectures": []string{"Qwen2ForCausalLM"}, "model_type": "qwen2", "attention_dropout": 0.0,
		"bos_token_id": vocabularySize - 3, "eos_token_id": vocabularySize - 1, "hidden_act": "silu",
		"hidden_size": s.hidden, "intermediate_size": s.intermediate, "num_hidden_layers": s.layers,
		"num_attention_heads": s.heads, "num_key_value_heads": s.kvHeads, "initializer_range": 0.02,
		"max_position_embeddings": s.maxPositions, "max_window_layers": s.layers, "rms_norm_eps": s.epsilon,
		"rope_theta": s.ropeTheta, "sliding_window": s.maxPositions, "use_sliding_window": false,
		"tie_word_embeddings": true, "torch_dtype": "float32", "use_cache": true, "vocab_size": vocabularySize,
	}
	data, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return fmt.Errorf("encode config.json: %w", err)
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return fmt.Errorf("make the model folder: %w", err)
	}
	if err := os.WriteFile(filepath.Join(o.out, "config.json"), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write config.json: %w", err)
	}
	tensors := firstWeights(s)
	parameters := 0
	for _, t := range tensors {
		parameters += len(t.Data) / 4
	}
	if err := safetensors.Write(filepath.Join(o.out, "model.safetensors"), tensors, map[string]string{"format": "pt"}); err != nil {
		return err
	}
	fmt.Printf("init: %d parameters in %d tensors → %s\n", parameters, len(tensors), o.out)
	return nil
}

func firstWeights(s shape) []safetensors.Tensor {
	random := rand.New(rand.NewPCG(initSeed, 1))
	var out []safetensors.Tensor
	add := func(name string, value func() float64, dims ...int) {
		size := 1
		for _, d := range dims {
			size *= d
		}
		data := make([]byte, 0, 4*size)
		for range size {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(value())))
		}
		out = append(out, safetensors.Tensor{Name: name, DType: "F32", Shape: dims, Data: data})
	}
	normal := func(deviation float64) func() float64 {
		return func() float64 { return deviation * random.NormFloat64() }
	}
	one := func() float64 { return 1 }
	zero := func() float64 { return 0 }
	kv := s.hidden / s.heads * s.kvHeads
	inner := normal(1 / math.Sqrt(float64(s.hidden)))
	outer := func(inputs int) func() float64 { return normal(1 / math.Sqrt(2*float64(s.layers*inputs))) }
	add("model.embed_tokens.weight", normal(0.05), vocabularySize, s.hidden)
	for i := range s.layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		add(p+"input_layernorm.weight", one, s.hidden)
		add(p+"self_attn.q_proj.weight", inner, s.hidden, s.hidden)
		add(p+"self_attn.q_proj.bias", zero, s.hidden)
		add(p+"self_attn.k_proj.weight", inner, kv, s.hidden)
		add(p+"self_attn.k_proj.bias", zero, kv)
		add(p+"self_attn.v_proj.weight", inner, kv, s.hidden)
		add(p+"self_attn.v_proj.bias", zero, kv)
		add(p+"self_attn.o_proj.weight", outer(s.hidden), s.hidden, s.hidden)
		add(p+"post_attention_layernorm.weight", one, s.hidden)
		add(p+"mlp.gate_proj.weight", inner, s.intermediate, s.hidden)
		add(p+"mlp.up_proj.weight", inner, s.intermediate, s.hidden)
		add(p+"mlp.down_proj.weight", outer(s.intermediate), s.hidden, s.intermediate)
	}
	add("model.norm.weight", one, s.hidden)
	return out
}
