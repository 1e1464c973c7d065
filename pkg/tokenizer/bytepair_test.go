package tokenizer

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// against holds a text's tokens and their places against the library's; it says whether the text was taken.
func against(t testing.TB, tok *Tokenizer, text string) bool {
	t.Helper()
	if !tok.pairs.takes(text) {
		return false
	}
	got, want := tok.pairs.encode(nil, text, 0), tok.plain.encode(nil, text, 0)
	if !slices.Equal(got, want) {
		t.Errorf("%q: got %v, the library %v", text, got, want)
	}
	return true
}

// bytePairTokenizers are the tokenizer of the tests with each of the patterns, and once with whole words.
func bytePairTokenizers(t testing.TB) map[string]*Tokenizer {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(folder("DESCANT_QWEN_DIR", "qwen"), "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*Tokenizer{}
	add := func(name string, change func(file map[string]any)) {
		var file map[string]any
		if err := json.Unmarshal(data, &file); err != nil {
			t.Fatal(err)
		}
		change(file)
		changed, err := json.Marshal(file)
		if err != nil {
			t.Fatal(err)
		}
		tok, err := fromJSON(changed)
		if err != nil {
			t.Fatal(err)
		}
		if tok.pairs == nil {
			t.Fatalf("%s: left to the library", name)
		}
		t.Cleanup(tok.Close)
		all[name] = tok
	}
	for pattern, digits := range wordPatterns {
		add(string(rune('0'+digits)), func(file map[string]any) {
			split := file["pre_tokenizer"].(map[string]any)["pretokenizers"].([]any)[0].(map[string]any)
			split["pattern"] = map[string]any{"Regex": pattern}
		})
	}
	add("whole words", func(file map[string]any) {
		model := file["model"].(map[string]any)
		model["ignore_merges"] = true
		merges := model["merges"].([]any)
		model["merges"] = merges[:len(merges)/2]
	})
	add("no normalizer", func(file map[string]any) { file["normalizer"] = nil })
	return all
}

// TestBytePairsOfRandomText compares random texts, among them long words and texts of letters that hardly merge.
func TestBytePairsOfRandomText(t *testing.T) {
	t.Parallel()
	for name, tok := range bytePairTokenizers(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(5, 6))
			taken := 0
			for range 4000 {
				text := strings.ReplaceAll(randomText(r, tok), "\x00", "")
				if r.IntN(2) == 0 {
					text = norm.NFC.String(text)
				}
				if r.IntN(20) == 0 {
					text += strings.Repeat([]string{"a", "ab", "的", "不是", "é", "zq", " ", "\n"}[r.IntN(8)], r.IntN(400))
				}
				if r.IntN(20) == 0 {
					letters := []rune("etaoinshrdlu的一是不了人")
					for range r.IntN(600) {
						text += string(letters[r.IntN(len(letters))])
					}
				}
				if against(t, tok, text) {
					taken++
				}
				if t.Failed() {
					return
				}
			}
			if taken < 2000 {
				t.Errorf("%d texts were taken", taken)
			}
		})
	}
}

// FuzzBytePairs looks for a text whose tokens differ from the library's.
func FuzzBytePairs(f *testing.F) {
	tok := qwen(f)
	for _, text := range []string{"", "I'll DON'T 'ſ", "  \n\n a\r\n\t b  ", "你好，世界 123", "e\u0301 한국 ﬁ", "\u2028x\u3000y"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\x00", "")
		if text != "" {
			against(t, tok, text)
		}
	})
}

// TestLibraryOnly checks that what the quick way does not know is left to the library.
func TestLibraryOnly(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"e\u0301", "\u212b", "\ufdd0", "\U000e0fff"} {
		if qwen(t).pairs.takes(text) {
			t.Errorf("%+q was taken", text)
		}
	}
	if tok := load(t, filepath.Join("..", "..", "testdata", "sentencepiece")); tok.pairs != nil {
		t.Error("SentencePiece is no byte-level BPE")
	}
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "qwen", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, from, to string
		refused        bool // by the library
	}{
		{"another pattern", `\\p{N}|`, `\\p{N}+|`, false},
		{"another normalizer", `"NFC"`, `"NFKC"`, false},
		{"a space in front", `"add_prefix_space": false`, `"add_prefix_space": true`, false},
		{"another behavior", `"Isolated"`, `"Removed"`, false},
		{"dropout", `"dropout": null`, `"dropout": 0.5`, false},
		{"an unknown token", `"unk_token": null`, `"unk_token": "a"`, false},
		{"bytes as a fallback", `"byte_fallback": false`, `"byte_fallback": true`, false},
		{"a byte that is missing", `"!": 0`, `"!!!": 0`, false},
		{"a merge that is missing", `"he":`, `"hehe":`, true},
		{"another version", `"1.0"`, `"9.0"`, true},
		{"a mistake in the decoder", `"trim_offsets": true`, `"trim_offsets": 3`, true},
	} {
		changed := strings.Replace(string(data), c.from, c.to, 1)
		if changed == string(data) {
			t.Fatalf("%s: nothing was changed", c.name)
		}
		tok, err := fromJSON([]byte(changed))
		if (err != nil) != c.refused {
			t.Errorf("%s: %v", c.name, err)
		}
		if tok == nil {
			continue
		}
		if tok.pairs != nil {
			t.Errorf("%s was not left to the library", c.name)
		}
		tok.Close()
	}
}
