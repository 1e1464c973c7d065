package systemtest

import (
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"descant/models"
	"descant/pkg/model"
	"descant/pkg/safetensors"
)

// TinyBase writes a base model into dir that is as small as a model can be and still be one: the
// tokenizer of the built-in model, two layers of random weights. It says nothing sensible, but loads,
// compiles and trains in seconds.
func TinyBase(t testing.TB, dir string) {
	t.Helper()
	all, err := models.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	entries, err := fs.ReadDir(all["tiny"], ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".safetensors") || entry.Name() == "README.md" {
			continue
		}
		data, err := fs.ReadFile(all["tiny"], entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		if entry.Name() == "config.json" {
			data = smaller(t, data)
		}
		if err := os.WriteFile(filepath.Join(dir, entry.Name()), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	randomWeights(t, dir, 0.05)
}

// smaller makes the configuration of a model that of a two-layer one.
func smaller(t testing.TB, data []byte) []byte {
	t.Helper()
	config := map[string]any{}
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]int{
		"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "max_window_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2,
	} {
		config[name] = value
	}
	data, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// randomWeights writes matrices of a standard deviation, and norms of ones.
func randomWeights(t testing.TB, dir string, deviation float64) {
	t.Helper()
	config, err := model.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(7, 7))
	var tensors []safetensors.Tensor
	for _, want := range config.Tensors() {
		norm := strings.Contains(want.Name, "norm")
		data := make([]byte, 0, 4*want.Size())
		for range want.Size() {
			value := deviation * random.NormFloat64()
			if norm {
				value = 1
			}
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(value)))
		}
		tensors = append(tensors, safetensors.Tensor{Name: want.Name, DType: safetensors.F32, Shape: want.Shape, Data: data})
	}
	if err := safetensors.Write(filepath.Join(dir, "model.safetensors"), tensors, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
}
