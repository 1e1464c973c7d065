package systemtest

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// TestEveryFamily trains an adapter on a base of every family and of every kind of rope and window, and talks to it.
func TestEveryFamily(t *testing.T) {
	for name, fields := range map[string]map[string]any{
		"qwen2":   {"model_type": "qwen2", "use_sliding_window": true, "sliding_window": 16, "max_window_layers": 1},
		"qwen3":   {"model_type": "qwen3", "head_dim": 24, "attention_bias": true},
		"llama2":  {"model_type": "llama", "attention_bias": true, "mlp_bias": true, "rope_scaling": map[string]any{"type": "linear", "factor": 2}},
		"yi":      {"model_type": "llama", "rope_theta": 5e6, "tie_word_embeddings": false},
		"dynamic": {"model_type": "llama", "max_position_embeddings": 64, "rope_scaling": map[string]any{"type": "dynamic", "factor": 4}},
		"mistral": {"model_type": "mistral", "sliding_window": 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, dir := small(t), t.TempDir()
			base, out := filepath.Join(dir, "base"), filepath.Join(dir, "out")
			TinyBase(t, base)
			rewriteConfig(t, base, fields)
			randomWeights(t, base)
			ok(t, env, "train", "--model", base, "--max-steps", "2", "--max-length", "64", "--output-dir", out)
			said := ok(t, env, "chat", "--model", base, "--adapter-dir", out, "--prompt", "你好", "--max-tokens", "4", "--temperature", "0", "--json")
			var answer struct {
				Tokens int `json:"completion_tokens"`
			}
			if err := json.Unmarshal([]byte(said.out), &answer); err != nil || answer.Tokens < 1 {
				t.Errorf("the answer is %q, %v", said.out, err)
			}
		})
	}
}

// rewriteConfig changes fields of a base's config.json.
func rewriteConfig(t *testing.T, dir string, fields map[string]any) {
	t.Helper()
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	config := map[string]any{}
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	maps.Copy(config, fields)
	if data, err = json.Marshal(config); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
