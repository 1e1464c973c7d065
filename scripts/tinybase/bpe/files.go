package bpe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Control tokens; they follow the learnt tokens in this order.
const (
	EndOfText = "<|endoftext|>"
	ImStart   = "<|im_start|>"
	ImEnd     = "<|im_end|>"
)

// Controls lists the control tokens in id order.
var Controls = []string{EndOfText, ImStart, ImEnd}

// split is the expression with which Qwen2 cuts text before BPE: contractions, a word with at most one mark
// or space before it, one digit, marks, line ends, spaces.
const split = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

// template is ChatML as Qwen2 writes it, without a default system message: it would cost the small model a
// dozen tokens of every row.
const template = `{%- for message in messages %}
    {{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}`

// ID returns the id of a control token.
func (v *Vocabulary) ID(control string) int {
	for i, c := range Controls {
		if c == control {
			return len(v.Tokens) + i
		}
	}
	panic("bpe: no control token " + control)
}

type object = map[string]any

// WriteFiles writes tokenizer.json, tokenizer_config.json and generation_config.json into dir.
func (v *Vocabulary) WriteFiles(dir string) error {
	files := map[string]any{
		"tokenizer.json":         v.tokenizer(),
		"tokenizer_config.json":  v.config(),
		"generation_config.json": v.generation(),
	}
	for name, content := range files {
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", " ")
		if err := encoder.Encode(content); err != nil {
			return fmt.Errorf("encode %s: %w", name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), out.Bytes(), 0o644); err != nil {
			return fmt.Errorf("write the tokenizer: %w", err)
		}
	}
	return nil
}

func added(content string) object {
	return object{"content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
}

func (v *Vocabulary) tokenizer() object {
	vocab := make(object, len(v.Tokens))
	for id, token := range v.Tokens {
		vocab[token] = id
	}
	merges := make([]string, len(v.Merges))
	for i, m := range v.Merges {
		merges[i] = m[0] + " " + m[1]
	}
	var controls []object
	for _, c := range Controls {
		token := added(c)
		token["id"] = v.ID(c)
		controls = append(controls, token)
	}
	byteLevel := object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}
	return object{
		"version": "1.0", "truncation": nil, "padding": nil,
		"added_tokens": controls,
		"normalizer":   object{"type": "NFC"},
		"pre_tokenizer": object{"type": "Sequence", "pretokenizers": []object{
			{"type": "Split", "pattern": object{"Regex": split}, "behavior": "Isolated", "invert": false},
			byteLevel,
		}},
		"post_processor": byteLevel,
		"decoder":        byteLevel,
		"model": object{
			"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": "", "end_of_word_suffix": "",
			"fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges,
		},
	}
}

func (v *Vocabulary) config() object {
	decoder := object{}
	for _, c := range Controls {
		decoder[fmt.Sprint(v.ID(c))] = added(c)
	}
	return object{
		"add_bos_token": false, "add_prefix_space": false, "added_tokens_decoder": decoder,
		"additional_special_tokens": []string{ImStart, ImEnd},
		"bos_token":                 nil, "eos_token": ImEnd, "pad_token": EndOfText, "unk_token": nil,
		"chat_template": template, "clean_up_tokenization_spaces": false, "errors": "replace",
		"model_max_length": 1024, "split_special_tokens": false, "tokenizer_class": "Qwen2Tokenizer",
	}
}

func (v *Vocabulary) generation() object {
	return object{
		"bos_token_id": v.ID(EndOfText), "pad_token_id": v.ID(EndOfText),
		"eos_token_id": []int{v.ID(ImEnd), v.ID(EndOfText)}, "do_sample": false,
	}
}
