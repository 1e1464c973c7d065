package hubtest

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"descant/pkg/safetensors"
)

// Shape is the architecture of a Qwen2 checkpoint with tied embeddings.
type Shape struct {
	Hidden, Intermediate, Layers, Heads, KVHeads, Vocab, MaxPositions int
}

// Qwen05B is the shape of Qwen2.5-0.5B: 494,032,768 parameters.
func Qwen05B() Shape {
	return Shape{Hidden: 896, Intermediate: 4864, Layers: 24, Heads: 14, KVHeads: 2, Vocab: 151936, MaxPositions: 32768}
}

// MakeCheckpoint writes a model folder with seeded random bf16 weights of a realistic scale into dir, with
// the tokenizer files of tokenizerDir. A folder that already holds weights is left alone: the weights are
// written last.
func MakeCheckpoint(dir, tokenizerDir string, shape Shape) error {
	weights := filepath.Join(dir, safetensors.SingleFile)
	if _, err := os.Stat(weights); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make checkpoint: %w", err)
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "generation_config.json"} {
		data, err := os.ReadFile(filepath.Join(tokenizerDir, name))
		if errors.Is(err, fs.ErrNotExist) && name == "generation_config.json" {
			continue
		}
		if err != nil {
			return fmt.Errorf("make checkpoint: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return fmt.Errorf("make checkpoint: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), shape.config(), 0o644); err != nil {
		return fmt.Errorf("make checkpoint: %w", err)
	}
	if err := safetensors.Write(weights, shape.tensors(), map[string]string{"format": "pt"}); err != nil {
		return fmt.Errorf("make checkpoint: %w", err)
	}
	return nil
}

// config is the config.json of the shape, with the field names of the published repository.
func (s Shape) config() []byte {
	text, err := json.MarshalIndent(map[string]any{
		"architectures": []string{"Qwen2ForCausalLM"}, "model_type": "qwen2", "hidden_act": "silu",
		"hidden_size": s.Hidden, "intermediate_size": s.Intermediate, "num_hidden_layers": s.Layers,
		"num_attention_heads": s.Heads, "num_key_value_heads": s.KVHeads, "vocab_size": s.Vocab,
		"max_position_embeddings": s.MaxPositions, "max_window_layers": s.Layers, "sliding_window": s.MaxPositions,
		"use_sliding_window": false, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": true,
		"attention_dropout": 0.0, "initializer_range": 0.02, "bos_token_id": 151643, "eos_token_id": 151645,
		"torch_dtype": "bfloat16", "use_cache": true,
	}, "", "  ")
	if err != nil {
		panic(err) // a map of plain values always encodes
	}
	return append(text, '\n')
}

// Parameters counts the parameters.
func (s Shape) Parameters() int {
	n := 0
	for _, t := range s.tensors() {
		n += safetensors.Info{DType: t.DType, Shape: t.Shape}.Elements()
	}
	return n
}

func (s Shape) tensors() []safetensors.Tensor {
	kv := s.Hidden / s.Heads * s.KVHeads
	var list []safetensors.Tensor
	add := func(name string, mean, deviation float64, shape ...int) {
		n := safetensors.Info{Shape: shape}.Elements()
		list = append(list, safetensors.Tensor{Name: name, DType: safetensors.BF16, Shape: shape,
			Stream: func(w io.Writer) error { return writeNormal(w, name, n, mean, deviation) }})
	}
	add("model.embed_tokens.weight", 0, 0.02, s.Vocab, s.Hidden)
	add("model.norm.weight", 1, 0.05, s.Hidden)
	// Layers that write to the residual stream are scaled down, as at initialisation.
	out := 0.02 / math.Sqrt(2*float64(s.Layers))
	for i := range s.Layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		add(p+"input_layernorm.weight", 1, 0.05, s.Hidden)
		add(p+"post_attention_layernorm.weight", 1, 0.05, s.Hidden)
		for name, width := range map[string]int{"q": s.Hidden, "k": kv, "v": kv} {
			add(p+"self_attn."+name+"_proj.weight", 0, 0.04, width, s.Hidden)
			add(p+"self_attn."+name+"_proj.bias", 0, 0.1, width)
		}
		add(p+"self_attn.o_proj.weight", 0, out, s.Hidden, s.Hidden)
		add(p+"mlp.gate_proj.weight", 0, 0.02, s.Intermediate, s.Hidden)
		add(p+"mlp.up_proj.weight", 0, 0.02, s.Intermediate, s.Hidden)
		add(p+"mlp.down_proj.weight", 0, out, s.Hidden, s.Intermediate)
	}
	return list
}

// writeNormal writes n bf16 values of a normal distribution, the same ones for the same name. They are
// drawn from a table of 65536 values: half a billion are made in seconds.
func writeNormal(w io.Writer, name string, n int, mean, deviation float64) error {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // a hash never fails
	rng := rand.New(rand.NewPCG(h.Sum64(), 20250101))
	var table [1 << 16]uint16
	for i := range table {
		table[i] = safetensors.Float32ToBFloat16(float32(mean + deviation*rng.NormFloat64()))
	}
	buf := make([]byte, 0, 1<<18)
	for n > 0 {
		bits := rng.Uint64()
		for k := 0; k < 4 && n > 0; k, n = k+1, n-1 {
			buf = binary.LittleEndian.AppendUint16(buf, table[uint16(bits>>(16*k))])
		}
		if len(buf)+8 > cap(buf) || n == 0 {
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	return nil
}

// IsTokenizerDir tells whether a folder has what MakeCheckpoint copies.
func IsTokenizerDir(dir string) error {
	var missing []string
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s has no %s", dir, strings.Join(missing, ", no "))
	}
	return nil
}
