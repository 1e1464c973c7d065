package gguf

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/safetensors"
	"descant/pkg/tokenizer"
)

const parity = "../../testdata/parity/"

func config(t *testing.T, text string) *model.Config {
	t.Helper()
	cfg, err := model.ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

const llamaConfig = `{"model_type":"llama","vocab_size":50,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":2,
	"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":64,"rms_norm_eps":1e-5}`

func digest(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// TestAdapter writes an adapter that PEFT saved: names and fields of the converter, matrices byte for byte.
func TestAdapter(t *testing.T) {
	t.Parallel()
	for name, golden := range map[string]string{
		"qwen2-tied": "4af8d9dc57b45f7b945a3d97eb29e5558c716be0b335478ee81c60efec9740fc", "qwen2-untied": "af3b3dd9fb92ffb0eae80953d925c21bdc883c61463ee145240f6d5c41350d64",
	} {
		cfg, err := model.ReadConfig(parity + name + "/base")
		if err != nil {
			t.Fatal(err)
		}
		a, err := lora.Load(cfg, parity+name+"/adapter")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "adapter.gguf")
		if err := WriteAdapter(path, cfg, a, AdapterInfo{Name: name, Base: "base"}); err != nil {
			t.Fatal(err)
		}
		got := readFile(t, path)
		for key, want := range map[string]any{
			"general.architecture": "qwen2", "general.type": "adapter", "adapter.type": "lora",
			"adapter.lora.alpha": float32(a.Config.Alpha), "general.name": name,
		} {
			if got.fields[key] != want {
				t.Errorf("%s: %s is %v, want %v", name, key, got.fields[key], want)
			}
		}
		saved, err := safetensors.Open(parity + name + "/adapter/" + lora.WeightsFile)
		if err != nil {
			t.Fatal(err)
		}
		defer saved.Close()
		if len(got.tensors) != len(saved.Names()) {
			t.Errorf("%s: %d tensors, PEFT's file has %d", name, len(got.tensors), len(saved.Names()))
		}
		for of, from := range map[string]string{
			"blk.1.attn_q.weight.lora_a": "self_attn.q_proj.lora_A", "blk.1.attn_v.weight.lora_b": "self_attn.v_proj.lora_B",
		} {
			from = "base_model.model.model.layers.1." + from + ".weight"
			info, _ := saved.Info(from)
			tensor := got.tensors[of]
			if !bytes.Equal(tensor.data, saved.Bytes(from)) || !slices.Equal(tensor.dims, []uint64{uint64(info.Shape[1]), uint64(info.Shape[0])}) {
				t.Errorf("%s: %s %v is not %s %v", name, of, tensor.dims, from, info.Shape)
			}
		}
		// The file that llama.cpp was seen to load (make check-gguf) and answer with as it should.
		if d := digest(t, path); d != golden {
			t.Errorf("%s: digest %s, want %s", name, d, golden)
		}
	}
}

// TestAdapterOfLlama: rows of q and k interleave the halves of every head, and scales that llama.cpp does not know
// lie in B.
func TestAdapterOfLlama(t *testing.T) {
	t.Parallel()
	cfg := config(t, llamaConfig)
	plan, err := lora.NewPlan(cfg, &lora.Config{R: 2, Alpha: 3, RSLora: true, Targets: []string{"q_proj", "v_proj"},
		RankPattern: []lora.Pattern{{Key: "v_proj", Value: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	flats := plan.Init(1)
	for _, flat := range flats {
		for i := range flat {
			flat[i] = float32(i)
		}
	}
	path := filepath.Join(t.TempDir(), "adapter.gguf")
	if err := WriteAdapter(path, cfg, &lora.Adapter{Plan: plan, Flats: flats}, AdapterInfo{Name: "a", Base: "b", BaseDigest: "sha256:c"}); err != nil {
		t.Fatal(err)
	}
	got := readFile(t, path)
	if got.fields["general.architecture"] != "llama" || got.fields["descant.base_digest"] != "sha256:c" {
		t.Errorf("fields %v", got.fields)
	}
	for _, m := range plan.Layers[0] {
		name := "blk.0." + map[string]string{"self_attn.q_proj": "attn_q", "self_attn.v_proj": "attn_v"}[m.Local] + ".weight.lora_b"
		b := got.tensors[name].floats()
		if len(b) != m.Out*m.Rank {
			t.Fatalf("%s has %d values", name, len(b))
		}
		// Within a head of width 4, rows come from places 0, 2, 1, 3 in q, and stay in v.
		from := []int{0, 1, 2, 3}
		if m.Local == "self_attn.q_proj" {
			from = []int{0, 2, 1, 3}
		}
		for row := range m.Out {
			for r := range m.Rank {
				source := float64(flats[0][m.B+(row/4*4+from[row%4])*m.Rank+r])
				// llama.cpp multiplies by alpha over the rank of B.
				if effective := float64(b[row*m.Rank+r]) * 3 / float64(m.Rank); !near(effective, m.Scale*source) {
					t.Errorf("%s row %d: effect %g, want %g", name, row, effective, m.Scale*source)
				}
			}
		}
	}
}

func near(a, b float64) bool { return a-b <= 1e-5*(1+b) && b-a <= 1e-5*(1+b) }

// TestBase writes a base with its tokenizer and template.
func TestBase(t *testing.T) {
	t.Parallel()
	dir := parity + "qwen2-tied/base"
	path := filepath.Join(t.TempDir(), "base.gguf")
	var done, total int64
	if err := WriteBase(t.Context(), path, dir, BaseOptions{Name: "tied", Progress: func(d, all int64) { done, total = d, all }}); err != nil {
		t.Fatal(err)
	}
	if done != total || total == 0 {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	cfg, err := model.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := readFile(t, path)
	for key, want := range map[string]any{
		"general.architecture": "qwen2", "qwen2.block_count": uint32(cfg.Layers), "qwen2.attention.head_count_kv": uint32(cfg.KVHeads),
		"qwen2.rope.freq_base": float32(cfg.Rope.Theta), "qwen2.attention.layer_norm_rms_epsilon": float32(cfg.Eps),
		"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2", "tokenizer.ggml.add_bos_token": false,
	} {
		if got.fields[key] != want {
			t.Errorf("%s is %v, want %v", key, got.fields[key], want)
		}
	}
	if n := len(got.fields["tokenizer.ggml.tokens"].([]any)); n != cfg.Vocab {
		t.Errorf("%d tokens, the model has %d rows", n, cfg.Vocab)
	}
	set, err := safetensors.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	if len(got.tensors) != len(set.Names()) {
		t.Errorf("%d tensors, the base has %d", len(got.tensors), len(set.Names()))
	}
	for name, from := range map[string]string{"token_embd.weight": model.EmbedName, "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
		"blk.1.attn_k.bias": "model.layers.1.self_attn.k_proj.bias"} {
		if !bytes.Equal(got.tensors[name].data, set.Bytes(from)) {
			t.Errorf("%s differs from %s", name, from)
		}
	}
	if d := digest(t, path); d != "0bc5680476912998004853788b29b042a49586f8e95615bc1308d61c1a92e77c" {
		t.Errorf("digest %s", d)
	}
}

// madeBase writes a model folder in bfloat16 with a tokenizer of 320 tokens and more.
func madeBase(t *testing.T, text string) (string, []safetensors.Tensor) {
	t.Helper()
	cfg, dir := config(t, text), t.TempDir()
	var list []safetensors.Tensor
	for _, tensor := range cfg.Tensors() {
		values := make([]float32, tensor.Size())
		for i := range values {
			values[i] = float32(i % 7)
		}
		data, err := safetensors.EncodeFloat32(safetensors.BF16, values)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, safetensors.Tensor{Name: tensor.Name, DType: safetensors.BF16, Shape: tensor.Shape, Data: data})
	}
	if err := safetensors.Write(filepath.Join(dir, safetensors.SingleFile), list, nil); err != nil {
		t.Fatal(err)
	}
	tokenizerJSON, err := os.ReadFile(parity + "qwen2-tied/base/tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"config.json": []byte(text), "tokenizer.json": tokenizerJSON} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, list
}

// TestBaseDTypes: matrices keep bfloat16, vectors become float32, and rope scaling goes into factors.
func TestBaseDTypes(t *testing.T) {
	t.Parallel()
	text := strings.Replace(llamaConfig, "{", `{"tie_word_embeddings":true,"rope_scaling":{"rope_type":"llama3","factor":4,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":64},`, 1)
	text = strings.Replace(text, `"vocab_size":50`, `"vocab_size":400`, 1)
	cfg := config(t, text)
	dir, list := madeBase(t, text)
	path := filepath.Join(dir, "base.gguf")
	if err := WriteBase(t.Context(), path, dir, BaseOptions{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	got := readFile(t, path)
	if kind := got.tensors["blk.0.attn_q.weight"].kind; kind != uint32(BF16) {
		t.Errorf("a matrix has type %d", kind)
	}
	if norm := got.tensors["output_norm.weight"]; norm.kind != uint32(F32) || norm.floats()[3] != 3 {
		t.Errorf("a vector has type %d", norm.kind)
	}
	// Row 1 of the file is row 2 of the checkpoint: the head's second half begins there.
	width := 2 * cfg.Hidden
	if q := got.tensors["blk.0.attn_q.weight"].data; !bytes.Equal(q[width:2*width], list[slices.IndexFunc(list, func(x safetensors.Tensor) bool {
		return x.Name == "model.layers.0.self_attn.q_proj.weight"
	})].Data[2*width:3*width]) {
		t.Error("the rows of q are not interleaved")
	}
	if factors := got.tensors["rope_freqs.weight"].floats(); len(factors) != 2 || factors[0] != 1 || factors[1] != 4 {
		t.Errorf("rope factors %v", factors)
	}

	qwen := strings.Replace(text, `"llama"`, `"qwen2"`, 1)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(qwen), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteBase(t.Context(), path, dir, BaseOptions{Name: "x"}); err == nil || !strings.Contains(err.Error(), "bias is missing") {
		t.Errorf("a base that lacks tensors was exported: %v", err)
	}
	// llama.cpp reads no bias of o_proj for qwen3, and no rope factors.
	for _, biased := range []string{"true", "false"} {
		qwen3 := strings.Replace(text, `"model_type":"llama"`, `"model_type":"qwen3","head_dim":4,"attention_bias":`+biased, 1)
		other, _ := madeBase(t, qwen3)
		if err := WriteBase(t.Context(), path, other, BaseOptions{Name: "x"}); !errors.Is(err, ErrNoForm) {
			t.Errorf("attention_bias %s: a base that llama.cpp computes otherwise was exported: %v", biased, err)
		}
	}
	tokenizerJSON, err := os.ReadFile(filepath.Join(dir, "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	fallback := bytes.Replace(tokenizerJSON, []byte(`"model":`), []byte(`"_":`), 1)
	for name, data := range map[string][]byte{"config.json": []byte(text), "tokenizer.json": fallback} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteBase(t.Context(), path, dir, BaseOptions{Name: "x"}); err == nil || !strings.Contains(err.Error(), "not of a kind that can be exported") {
		t.Errorf("a tokenizer of another kind was exported: %v", err)
	}
}

// TestOutTypes writes matrices in another dtype; vectors are float32 always.
func TestOutTypes(t *testing.T) {
	t.Parallel()
	const dir = "../../models/tiny"
	own := filepath.Join(t.TempDir(), "base.gguf")
	if err := WriteBase(t.Context(), own, dir, BaseOptions{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	const matrix, vector = "blk.0.ffn_down.weight", "blk.0.attn_norm.weight"
	want := readFile(t, own).tensors[matrix].floats()
	for name, limit := range map[string]float64{"f32": 0, "f16": 1.0 / 2048, "bf16": 1.0 / 256, "q8_0": (0.5 + 127.0/2048) / 127} {
		path := filepath.Join(t.TempDir(), "base.gguf")
		if err := WriteBase(t.Context(), path, dir, BaseOptions{Name: "x", OutType: name}); err != nil {
			t.Fatal(err)
		}
		file := readFile(t, path)
		got := file.tensors[matrix]
		if kind, _, _ := outType(name); got.kind != uint32(kind) || file.tensors[vector].kind != uint32(F32) {
			t.Errorf("%s: a matrix has type %d, a vector %d", name, got.kind, file.tensors[vector].kind)
		}
		for i, v := range got.floats() {
			// A scale of Q8_0 belongs to the largest of a block.
			scale := float64(want[i])
			if name == "q8_0" {
				scale = float64(slices.MaxFunc(want[i/q8Block*q8Block:][:q8Block], func(a, b float32) int { return cmp.Compare(math.Abs(float64(a)), math.Abs(float64(b))) }))
			}
			if math.Abs(float64(v-want[i])) > 1.001*limit*math.Abs(scale)+0x1p-25 { // half of float16's smallest step
				t.Fatalf("%s: element %d is %g, in the base %g", name, i, v, want[i])
			}
		}
	}
	if err := WriteBase(t.Context(), own, parity+"qwen2-tied/base", BaseOptions{OutType: "q8_0"}); err == nil || !strings.Contains(err.Error(), "q8_0 needs a multiple of 32") {
		t.Errorf("rows of 80 elements: %v", err)
	}
	// The bytes of ggml's own rounding: the scale 1 as float16, halves away from zero.
	block := make([]float32, q8Block)
	copy(block, []float32{127, -127, 0.5, -0.5, 1.4})
	if got := appendQ8(nil, block); !bytes.Equal(got[:8], []byte{0x00, 0x3c, 127, 129, 1, 255, 1, 0}) || len(got) != q8Bytes {
		t.Errorf("a block is % x", got)
	}
	if err := WriteBase(t.Context(), own, dir, BaseOptions{OutType: "q4_k"}); err == nil || !strings.Contains(err.Error(), "give one of auto, f32") {
		t.Errorf("an unknown type: %v", err)
	}
}

// TestModelfile finds the family of a chat template by its texts.
func TestModelfile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		dir, template, family string
		want                  []string
	}{
		{dir: "../../models/tiny", family: "chatml", want: []string{"FROM ./base.gguf\nADAPTER ./adapter.gguf\n", "<|im_start|>{{ .Role }}", `PARAMETER stop "<|im_end|>"`}},
		{dir: "../../testdata/qwen", family: "chatml", want: []string{`SYSTEM """You are a small assistant."""`}},
		{dir: "../../models/tiny", template: "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", family: ""},
		{dir: "../../models/tiny", family: "llama3", template: "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n" +
			"{{ m.content }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"},
		{dir: "../../models/tiny", family: "mistral", template: "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]" +
			"{% elif m.role == 'assistant' %} {{ m.content }}</s>{% else %}{{ raise_exception('roles') }}{% endif %}{% endfor %}"},
	} {
		t.Run(fmt.Sprintf("%s %s", filepath.Base(tt.dir), tt.family), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json"} {
				data, err := os.ReadFile(filepath.Join(tt.dir, name))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if tt.template != "" {
				if err := os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(tt.template), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			tok, err := tokenizer.Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer tok.Close()
			m, err := NewModelfile(tok, "./base.gguf", "./adapter.gguf")
			if err != nil {
				t.Fatal(err)
			}
			text := m.String()
			if m.Family != tt.family || strings.Contains(text, "TEMPLATE") != (tt.family != "") {
				t.Errorf("family %q, want %q:\n%s", m.Family, tt.family, text)
			}
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not in\n%s", want, text)
				}
			}
		})
	}
}
