package gguf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"descant/pkg/tokenizer"
)

// piecesBase writes a base in the layout of Llama with a SentencePiece tokenizer, whose tokenizer.json edit changes.
func piecesBase(t *testing.T, edit func([]byte) []byte) string {
	t.Helper()
	dir, _ := madeBase(t, strings.Replace(llamaConfig, `"vocab_size":50`, `"vocab_size":330,"eos_token_id":2`, 1))
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "sentencepiece", name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "tokenizer.json" {
			data = edit(data)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// spm tokenizes as llama.cpp does with the model "llama" (llm_tokenizer_spm): of all neighbours that are a token together
// those with the highest score are joined, the leftmost first, until there are none; what is no token is bytes.
func spm(t *testing.T, fields map[string]any, text string) (ids []int32) {
	t.Helper()
	list, scores := fields["tokenizer.ggml.tokens"].([]any), fields["tokenizer.ggml.scores"].([]any)
	at := map[string]int{}
	for id, token := range list {
		at[token.(string)] = id
	}
	if text != "" && fields["tokenizer.ggml.add_space_prefix"] == true {
		text = " " + text
	}
	symbols := strings.Split(strings.ReplaceAll(text, " ", space), "")
	for {
		best, place := float32(0), -1
		for i := range len(symbols) - 1 {
			if id, ok := at[symbols[i]+symbols[i+1]]; ok && (place < 0 || scores[id].(float32) > best) {
				best, place = scores[id].(float32), i
			}
		}
		if place < 0 {
			break
		}
		symbols[place] += symbols[place+1]
		symbols = slices.Delete(symbols, place+1, place+2)
	}
	for _, symbol := range symbols {
		if id, ok := at[symbol]; ok {
			ids = append(ids, int32(id))
			continue
		}
		for _, b := range []byte(symbol) {
			ids = append(ids, int32(at[fmt.Sprintf("<0x%02X>", b)]))
		}
	}
	return ids
}

// TestPieces: llama.cpp's way to tokenize gives the ids of tokenizer.json, by the scores that are written.
func TestPieces(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func([]byte) []byte{
		"as Llama 2": func(data []byte) []byte { return data },
		"as Yi, without a space before a text": func(data []byte) []byte {
			return bytes.Replace(data, []byte(`{"type":"Prepend","prepend":"▁"},`), nil, 1)
		},
		"with a Metaspace, without a space before a text": func(data []byte) []byte { return metaspace(t, data, "never", false) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := piecesBase(t, edit)
			path := filepath.Join(dir, "base.gguf")
			if err := WriteBase(t.Context(), path, dir, BaseOptions{Name: "pieces"}); err != nil {
				t.Fatal(err)
			}
			fields := readFile(t, path).fields
			for key, want := range map[string]any{"tokenizer.ggml.model": "llama", "tokenizer.ggml.bos_token_id": uint32(1), "tokenizer.ggml.eos_token_id": uint32(2),
				"tokenizer.ggml.unknown_token_id": uint32(0), "tokenizer.ggml.add_bos_token": false, "tokenizer.ggml.add_space_prefix": !strings.Contains(name, "without")} {
				if fields[key] != want {
					t.Errorf("%s is %v, want %v", key, fields[key], want)
				}
			}
			kinds := fields["tokenizer.ggml.token_type"].([]any)
			for id, want := range map[int]int32{0: tokenUnknown, 1: tokenControl, 2: tokenControl, 3: tokenByte, 258: tokenByte, 259: tokenNormal, 325: tokenNormal, 326: tokenUnused, 329: tokenUnused} {
				if kinds[id] != want {
					t.Errorf("token %d has type %v, want %d", id, kinds[id], want)
				}
			}
			tok, err := tokenizer.Load(dir)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(tok.Close)
			random := rand.New(rand.NewPCG(3, 4))
			parts := []string{"the", "th", "he", " ", "  ", "a", "in", "on", "er", "1", "12", "{\"", "\":", "]}", " [", "你好", "é", "🙂", "\n", "t", "h", "e"}
			for range 3000 {
				var text string
				for range 1 + random.IntN(8) {
					text += parts[random.IntN(len(parts))]
				}
				if got, want := spm(t, fields, text), tok.EncodePlain(text); !slices.Equal(got, want) {
					t.Fatalf("%q is %v by llama.cpp's way, %v by tokenizer.json", text, got, want)
				}
			}
		})
	}
}

// metaspace writes the steps of a tokenizer.json as newer files have them.
func metaspace(t *testing.T, data []byte, scheme string, split bool) []byte {
	t.Helper()
	file := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	file["normalizer"] = json.RawMessage("null")
	file["pre_tokenizer"] = json.RawMessage(fmt.Sprintf(`{"type":"Metaspace","replacement":"▁","prepend_scheme":%q,"split":%v}`, scheme, split))
	data, err := json.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestPiecesRefused: what llama.cpp would tokenize otherwise is refused.
func TestPiecesRefused(t *testing.T) {
	t.Parallel()
	replaced := func(old, to string) func([]byte) []byte {
		return func(data []byte) []byte {
			out := bytes.Replace(data, []byte(old), []byte(to), 1)
			if bytes.Equal(out, data) {
				t.Fatalf("%s is not in tokenizer.json", old)
			}
			return out
		}
	}
	for name, tt := range map[string]struct {
		edit func([]byte) []byte
		say  string
	}{
		"a space before the first text only": {func(data []byte) []byte { return metaspace(t, data, "first", false) }, "not of a kind that can be exported"},
		"a space where there is none":        {func(data []byte) []byte { return metaspace(t, data, "always", false) }, "not of a kind that can be exported"},
		"words apart":                        {func(data []byte) []byte { return metaspace(t, data, "never", true) }, "not of a kind that can be exported"},
		"another step":                       {replaced(`{"type":"Prepend","prepend":"▁"}`, `{"type":"NFKC"}`), "not of a kind that can be exported"},
		"a merge that is missing":            {replaced(`["1","2"]`, `["▁","12"]`), `it never merges "1" and "2"`},
		"a byte that is missing":             {replaced(`"<0x0A>":`, `"<0x0a>":`), "255 of the 256 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := piecesBase(t, tt.edit)
			if err := WriteBase(t.Context(), filepath.Join(dir, "base.gguf"), dir, BaseOptions{}); err == nil || !strings.Contains(err.Error(), tt.say) {
				t.Errorf("%v, want %q", err, tt.say)
			}
		})
	}
}
