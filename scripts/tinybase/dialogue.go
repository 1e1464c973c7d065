package main

import (
	"encoding/json"

	"descant/pkg/chat"
	"descant/pkg/tokenizer"
)

// dialogue turns conversations into ids with the base's own tokenizer and template.
type dialogue struct {
	tokenizer *tokenizer.Tokenizer
}

func loadDialogue(dir string) (*dialogue, error) {
	tok, err := tokenizer.Load(dir)
	if err != nil {
		return nil, err
	}
	return &dialogue{tok}, nil
}

// row encodes a training row.
func (d *dialogue) row(messages []chat.Message, tools json.RawMessage) ([]int32, []bool, error) {
	return d.tokenizer.EncodeChat(nil, messages, tools, false)
}

// question encodes what comes before the answer.
func (d *dialogue) question(text string) ([]int32, error) {
	ids, _, err := d.tokenizer.EncodeChat(nil, []chat.Message{{Role: "user", Content: text}}, nil, true)
	return ids, err
}
