package models_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"descant/models"
	"descant/pkg/hub"
	"descant/pkg/model"
	"descant/pkg/safetensors"
	"descant/pkg/tokenizer"
)

// limit is what the repository has room for.
const limit = 20 << 20

func unpack(t *testing.T) string {
	t.Helper()
	builtin, err := models.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	opts := hub.Options{Config: hub.Defaults(), Builtin: builtin}
	opts.WorkDir = t.TempDir()
	snapshot, err := hub.Resolve(context.Background(), "builtin:tiny", opts)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot.Dir
}

func TestTinyIsSmallAndWhole(t *testing.T) {
	t.Parallel()
	dir := unpack(t)
	size := int64(0)
	for _, name := range []string{"README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		size += info.Size()
	}
	if size > limit {
		t.Errorf("the files have %d bytes, more than %d", size, limit)
	}
	config, err := model.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	set, err := safetensors.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for _, want := range config.Tensors() {
		if _, ok := set.Info(want.Name); !ok {
			t.Errorf("tensor %s is missing", want.Name)
		}
	}
	if got, want := len(set.Names()), len(config.Tensors()); got != want {
		t.Errorf("%d tensors, want %d", got, want)
	}
}

func TestTinyTokenizerRoundTrips(t *testing.T) {
	t.Parallel()
	tok, err := tokenizer.Load(unpack(t))
	if err != nil {
		t.Fatal(err)
	}
	defer tok.Close()
	for _, text := range []string{"Hello, Tom! 12 + 34 = 46", "你好，小明！", "| 姓名 | 年龄 |\n| --- | --- |", "饕餮 𠮷 🙂 é\t\r\n  x", "<|im_end|>"} {
		if got := tok.Decode(tok.EncodePlain(text), false); got != text {
			t.Errorf("%q comes back as %q", text, got)
		}
	}
	if got := tok.Encode("<|im_end|>"); len(got) != 1 || got[0] != tok.EOS()[0] {
		t.Errorf("<|im_end|> is %v, the end of a turn is %v", got, tok.EOS())
	}
}
