package hubtest

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"descant/pkg/safetensors"
)

func TestQwen05BHasTheParametersOfTheOriginal(t *testing.T) {
	t.Parallel()
	if n := Qwen05B().Parameters(); n != 494_032_768 {
		t.Errorf("%d parameters", n)
	}
}

func TestMakeCheckpointIsReproducible(t *testing.T) {
	t.Parallel()
	tokenizer := t.TempDir()
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		if err := os.WriteFile(filepath.Join(tokenizer, name), []byte("{}"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shape := Shape{Hidden: 16, Intermediate: 24, Layers: 2, Heads: 4, KVHeads: 2, Vocab: 50, MaxPositions: 64}
	var files [2][]byte
	for i := range files {
		dir := t.TempDir()
		if err := MakeCheckpoint(dir, tokenizer, shape); err != nil {
			t.Fatal(err)
		}
		set, err := safetensors.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(set.Names()); n != 2+2*12 {
			t.Errorf("%d tensors", n)
		}
		if err := set.Close(); err != nil {
			t.Fatal(err)
		}
		if files[i], err = os.ReadFile(filepath.Join(dir, safetensors.SingleFile)); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("two runs differ")
	}
}
