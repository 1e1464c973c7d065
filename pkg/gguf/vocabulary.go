package gguf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"descant/pkg/tokenizer"
)

// Kinds of tokens in llama.cpp.
const (
	tokenNormal      = 1
	tokenUnknown     = 2
	tokenControl     = 3
	tokenUserDefined = 4
	tokenUnused      = 5
	tokenByte        = 6
)

// preTokenizers are the regular expressions that split text before the merges, by llama.cpp's names of them.
func preTokenizers() map[string]string {
	return map[string]string{
		`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`:      "qwen2",
		`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`: "llama-bpe",
	}
}

// tokenizerFile is what is used here of tokenizer.json.
type tokenizerFile struct {
	Added []struct {
		ID      int    `json:"id"`
		Content string `json:"content"`
		Special bool   `json:"special"`
	} `json:"added_tokens"`
	Normalizer    transform     `json:"normalizer"`
	PreTokenizer  transform     `json:"pre_tokenizer"`
	PostProcessor postProcessor `json:"post_processor"`
	Model         struct {
		Type         string            `json:"type"`
		ByteFallback bool              `json:"byte_fallback"`
		IgnoreMerges bool              `json:"ignore_merges"`
		Unknown      string            `json:"unk_token"`
		Vocab        map[string]int    `json:"vocab"`
		Merges       []json.RawMessage `json:"merges"`
	} `json:"model"`
}

// postProcessor puts special tokens around a text; it may be a sequence.
type postProcessor struct {
	Type   string `json:"type"`
	Single []struct {
		Special *struct{} `json:"SpecialToken"`
	} `json:"single"`
	Parts []postProcessor `json:"processors"`
}

// begins says whether a special token is put before a text.
func (p postProcessor) begins() bool {
	return len(p.Single) > 0 && p.Single[0].Special != nil || slices.ContainsFunc(p.Parts, postProcessor.begins)
}

// vocabularyFields is a tokenizer in llama.cpp's fields. Ids up to vocab that the tokenizer does not know are filled with
// unused tokens. A tokenizer that llama.cpp does not know is refused.
func vocabularyFields(dir string, vocab int) ([]Field, error) {
	data, err := os.ReadFile(filepath.Join(dir, "tokenizer.json"))
	if err != nil {
		return nil, err
	}
	var file tokenizerFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	var fields []Field
	switch {
	case file.Model.Type != "BPE":
		return nil, errTokenizer
	case file.Model.ByteFallback:
		fields, err = file.pieceFields(vocab)
	default:
		fields, err = file.byteLevelFields(vocab)
	}
	if err != nil {
		return nil, err
	}
	special, err := specialFields(dir, file.PostProcessor.begins())
	return append(fields, special...), err
}

// byteLevelFields is a byte-level BPE tokenizer.
func (f tokenizerFile) byteLevelFields(vocab int) ([]Field, error) {
	var regex string
	for _, step := range f.PreTokenizer.flat() {
		regex = cmp.Or(regex, step.Pattern.Regex)
	}
	pre := preTokenizers()[regex]
	if pre == "" {
		return nil, errTokenizer
	}
	tokens, kinds, err := f.tokens(vocab)
	if err != nil {
		return nil, err
	}
	merges, err := f.merges()
	if err != nil {
		return nil, err
	}
	return []Field{
		{"tokenizer.ggml.model", "gpt2"}, {"tokenizer.ggml.pre", pre}, {"tokenizer.ggml.tokens", tokens},
		{"tokenizer.ggml.token_type", kinds}, {"tokenizer.ggml.merges", merges},
	}, nil
}

func (f tokenizerFile) tokens(vocab int) (tokens []string, kinds []int32, err error) {
	tokens, kinds = make([]string, vocab), make([]int32, vocab)
	for id := range tokens {
		tokens[id], kinds[id] = fmt.Sprintf("[PAD%d]", id), tokenUnused
	}
	place := func(text string, id int, kind int32) {
		if id < 0 || id >= vocab {
			err = fmt.Errorf("tokenizer.json: token %q has id %d, the model has %d rows", text, id, vocab)
			return
		}
		tokens[id], kinds[id] = text, kind
	}
	for text, id := range f.Model.Vocab {
		place(text, id, tokenNormal)
	}
	for _, t := range f.Added {
		kind := int32(tokenUserDefined)
		if t.Special {
			kind = tokenControl
		}
		place(t.Content, t.ID, kind)
	}
	return tokens, kinds, err
}

// merges reads both forms: "a b" and ["a", "b"].
func (f tokenizerFile) merges() ([]string, error) {
	list := make([]string, len(f.Model.Merges))
	for i, raw := range f.Model.Merges {
		var pair []string
		if json.Unmarshal(raw, &list[i]) == nil {
			continue
		}
		if err := json.Unmarshal(raw, &pair); err != nil || len(pair) != 2 {
			return nil, fmt.Errorf("tokenizer.json: merge %d is %s", i, raw)
		}
		list[i] = strings.Join(pair, " ")
	}
	return list, nil
}

// specialFields tells of special tokens and the chat template. addBOS says that a text begins with the token of the
// beginning.
func specialFields(dir string, addBOS bool) ([]Field, error) {
	t, err := tokenizer.Load(dir)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	var fields []Field
	id := func(key string, id int32) {
		if id >= 0 {
			fields = append(fields, Field{"tokenizer.ggml." + key, uint32(id)})
		}
	}
	id("bos_token_id", t.BOS())
	if eos := t.EOS(); len(eos) > 0 {
		id("eos_token_id", eos[0])
	}
	id("padding_token_id", t.PadID())
	fields = append(fields, Field{"tokenizer.ggml.add_bos_token", addBOS && t.BOS() >= 0})
	if text := t.TemplateText(); text != "" {
		fields = append(fields, Field{"tokenizer.chat_template", text})
	}
	return fields, nil
}
