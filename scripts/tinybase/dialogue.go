package main

import (
	"descant/pkg/chat"
	"descant/pkg/dataset"
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
func (d *dialogue) row(row dataset.Row) ([]int32, []int, error) {
	e, err := d.tokenizer.EncodeInput(nil, chat.Input{Messages: row.Messages, Tools: row.Tools})
	if err != nil {
		return nil, nil, err
	}
	return e.IDs, e.Answers, nil
}

// question encodes what comes before the answer.
func (d *dialogue) question(text string) ([]int32, error) {
	ids, _, err := d.tokenizer.EncodeChat(nil, []chat.Message{{Role: "user", Content: text}}, nil, true)
	return ids, err
}
