package bpe

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func learn(t *testing.T, size int) *Vocabulary {
	t.Helper()
	trainer := NewTrainer()
	trainer.AddCharacters("你好，我")
	for range 30 {
		trainer.Add("The cat sees the dog: {\"name\": \"Tom\"}，猫看见狗。1234")
	}
	v, err := trainer.Learn(size, 2)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEveryCharacterIsOneToken(t *testing.T) {
	t.Parallel()
	v := learn(t, 400)
	known := map[string]bool{}
	for _, token := range v.Tokens {
		if known[token] {
			t.Fatalf("token %q has two ids", token)
		}
		known[token] = true
	}
	for _, r := range "你好，我猫看见狗。" {
		token := ""
		for _, b := range symbols(string(r)) {
			token += b
		}
		if !known[token] {
			t.Errorf("%c is not a token", r)
		}
	}
	for _, token := range []string{"Ġcat", "Ġthe", "Tom"} {
		if !known[token] {
			t.Errorf("%q was not learnt", token)
		}
	}
}

func TestMergesComeAfterTheirParts(t *testing.T) {
	t.Parallel()
	v := learn(t, 400)
	id := map[string]int{}
	for i, token := range v.Tokens {
		id[token] = i
	}
	for _, m := range v.Merges {
		whole, ok := id[m[0]+m[1]]
		a, okA := id[m[0]]
		b, okB := id[m[1]]
		if !ok || !okA || !okB || a >= whole || b >= whole {
			t.Fatalf("merge %q + %q: ids %d, %d → %d", m[0], m[1], a, b, whole)
		}
	}
}

func TestRunsKeepMarksAndWordsApart(t *testing.T) {
	t.Parallel()
	got := runs("name=Tom, 年龄：12\n- a {\"x\": 1}")
	want := []string{"name", "=", "Tom", ",", "年", "龄", "：", "-", " a", " {\"", "x", "\":", "}"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("runs: %q, want %q", got, want)
	}
}

func TestTooSmallAVocabularyIsRefused(t *testing.T) {
	t.Parallel()
	trainer := NewTrainer()
	trainer.AddCharacters(Characters)
	if _, err := trainer.Learn(300, 2); err == nil {
		t.Error("300 tokens were enough for all characters")
	}
}

func TestFilesAreTheSameEachTime(t *testing.T) {
	t.Parallel()
	var before map[string][]byte
	for range 2 {
		dir := t.TempDir()
		v := learn(t, 400)
		if err := v.WriteFiles(dir); err != nil {
			t.Fatal(err)
		}
		now := map[string][]byte{}
		for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "generation_config.json"} {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if !json.Valid(data) {
				t.Errorf("%s is no JSON", name)
			}
			now[name] = data
		}
		if before != nil && !reflect.DeepEqual(before, now) {
			t.Error("the same text gives other files")
		}
		before = now
	}
}
