package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"descant/pkg/model"
)

// withTokenizer returns a model folder with a tokenizer, which llama.cpp's bindings ask for: the folder itself, or
// one at out that links to its files and has a made-up vocabulary.
func withTokenizer(base, out string) (string, error) {
	if _, err := os.Stat(filepath.Join(base, "tokenizer.json")); err == nil {
		return base, nil
	}
	absolute, err := filepath.Abs(base)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(base)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", err
	}
	for _, e := range entries {
		if err := os.Symlink(filepath.Join(absolute, e.Name()), filepath.Join(out, e.Name())); err != nil {
			return "", err
		}
	}
	cfg, err := model.ReadConfig(base)
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(madeUp(cfg.Vocab))
	if err != nil {
		return "", err
	}
	return out, os.WriteFile(filepath.Join(out, "tokenizer.json"), data, 0o644)
}

// madeUp is a byte-level BPE tokenizer with n tokens: bytes, one merge, and names that no text has.
func madeUp(n int) map[string]any {
	vocab := map[string]int{}
	next := rune(256)
	for b := range rune(min(256, n-1)) {
		letter := b
		// The letters that GPT-2 writes bytes as: themselves where they can be seen, others from 256 on.
		if b < '!' || b > '~' && b < '¡' || b == 0xad {
			letter = next
			next++
		}
		vocab[string(letter)] = int(b)
	}
	vocab["!#"] = len(vocab)
	for id := len(vocab); id < n; id++ {
		vocab[fmt.Sprintf("<%d>", id)] = id
	}
	split := map[string]any{"type": "Split", "behavior": "Isolated", "invert": false, "pattern": map[string]string{
		"Regex": `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`}}
	bytes := map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}
	return map[string]any{
		"version": "1.0", "added_tokens": []any{}, "decoder": bytes,
		"pre_tokenizer": map[string]any{"type": "Sequence", "pretokenizers": []any{split, bytes}},
		"model":         map[string]any{"type": "BPE", "vocab": vocab, "merges": []string{"! #"}},
	}
}
