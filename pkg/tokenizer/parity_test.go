package tokenizer

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"descant/pkg/chat"
)

// folder is the folder in an environment variable, else one of the project's own testdata.
func folder(env, own string) string {
	if dir := os.Getenv(env); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "testdata", own)
}

// shared loads the tokenizer of DESCANT_QWEN_DIR once for all tests.
var shared = sync.OnceValues(func() (*Tokenizer, error) { return Load(folder("DESCANT_QWEN_DIR", "qwen")) })

func qwen(t testing.TB) *Tokenizer {
	t.Helper()
	tok, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func load(t testing.TB, dir string) *Tokenizer {
	t.Helper()
	tok, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tok.Close)
	return tok
}

// rows reads a file of JSON lines.
func rows[T any](t testing.TB, path string) []T {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out []T
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<24)
	for s.Scan() {
		var row T
		if err := json.Unmarshal(s.Bytes(), &row); err != nil {
			t.Fatalf("%s: row %d: %v", path, len(out)+1, err)
		}
		out = append(out, row)
	}
	if s.Err() != nil || len(out) == 0 {
		t.Fatalf("%s: %d rows, %v", path, len(out), s.Err())
	}
	return out
}

func TestParityTokenIDs(t *testing.T) {
	t.Parallel()
	dir := folder("DESCANT_QWEN_DIR", "qwen")
	tok := qwen(t)
	type row struct {
		Text  string
		IDs   []int32
		Plain []int32 `json:"ids_plain"`
		Kind  string
	}
	for _, r := range rows[row](t, filepath.Join(dir, "token_ids.jsonl")) {
		if got := tok.Encode(r.Text); !slices.Equal(got, r.IDs) {
			t.Errorf("%s: Encode(%q) = %v, want %v", r.Kind, r.Text, got, r.IDs)
		}
		plain := r.Plain
		if plain == nil {
			plain = r.IDs
		}
		if got := tok.EncodePlain(r.Text); !slices.Equal(got, plain) {
			t.Errorf("%s: EncodePlain(%q) = %v, want %v", r.Kind, r.Text, got, plain)
		}
		for _, ids := range [][]int32{r.IDs, plain} {
			checkRoundTrip(t, tok, r.Text, ids)
		}
	}
}

func TestParityChat(t *testing.T) {
	t.Parallel()
	dir := folder("DESCANT_QWEN_DIR", "qwen")
	tok := qwen(t)
	type row struct {
		Kind     string
		Messages []chat.Message
		Tools    json.RawMessage
		Prompt   bool `json:"add_generation_prompt"`
		Text     string
		IDs      []int32
		Safe     []int32 `json:"ids_safe"`
	}
	for i, r := range rows[row](t, filepath.Join(dir, "chat.jsonl")) {
		got, err := tok.EncodeInput(nil, chat.Input{Messages: r.Messages, Tools: r.Tools, AddGenerationPrompt: r.Prompt})
		if err != nil {
			t.Errorf("row %d (%s): %v", i+1, r.Kind, err)
			continue
		}
		if got.Text != r.Text {
			t.Errorf("row %d (%s): text %q, want %q", i+1, r.Kind, got.Text, r.Text)
		}
		if ids := tok.Encode(r.Text); !slices.Equal(ids, r.IDs) {
			t.Errorf("row %d (%s): ids of the text %v, want %v", i+1, r.Kind, ids, r.IDs)
		}
		safe := r.Safe
		if safe == nil {
			safe = r.IDs
		}
		if !slices.Equal(got.IDs, safe) {
			t.Errorf("row %d (%s): ids %v, want %v", i+1, r.Kind, got.IDs, safe)
		}
	}
}

// TestParityTokenize covers the cases of parity folders that have a tokenizer of their own.
func TestParityTokenize(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(folder("DESCANT_PARITY_DIR", "parity"), "*", "tokenize.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tokenize.json in the parity folder (%v)", err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Size  int `json:"tokenizer_size"`
			Cases []struct {
				Text, Decoded string
				IDs           []int32
				Skip          string  `json:"decoded_skip_special"`
				AsText        []int32 `json:"ids_specials_as_text"`
			}
			Chat struct {
				Messages []chat.Message
				Rendered string
				IDs      []int32
			}
		}
		if err := json.Unmarshal(data, &file); err != nil {
			t.Fatal(err)
		}
		tok := load(t, filepath.Join(filepath.Dir(path), "base"))
		if tok.VocabSize() != file.Size {
			t.Errorf("%s: VocabSize %d, want %d", path, tok.VocabSize(), file.Size)
		}
		for _, c := range file.Cases {
			if got := tok.Encode(c.Text); !slices.Equal(got, c.IDs) {
				t.Errorf("%s: Encode(%q) = %v, want %v", path, c.Text, got, c.IDs)
			}
			if got := tok.EncodePlain(c.Text); !slices.Equal(got, c.AsText) {
				t.Errorf("%s: EncodePlain(%q) = %v, want %v", path, c.Text, got, c.AsText)
			}
			if got := tok.Decode(c.IDs, false); got != c.Decoded {
				t.Errorf("%s: Decode = %q, want %q", path, got, c.Decoded)
			}
			if got := tok.Decode(c.IDs, true); got != c.Skip {
				t.Errorf("%s: Decode without specials = %q, want %q", path, got, c.Skip)
			}
		}
		c := file.Chat
		got, err := tok.EncodeInput(nil, chat.Input{Messages: c.Messages})
		if err != nil || got.Text != c.Rendered || !slices.Equal(got.IDs, c.IDs) {
			t.Errorf("%s: chat %q: %v, %+v, want %q %v", path, c.Messages, err, got, c.Rendered, c.IDs)
		}
	}
}
