package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"descant/scripts/tinybase/bpe"
	"descant/scripts/tinybase/world"
)

// vocabularySize counts the learnt tokens and the control tokens.
const vocabularySize = 3072

// tokenizerRows is how much text the tokenizer is learnt from.
const tokenizerRows = 60_000

// printWorld prints rows as JSON lines.
func printWorld(_ context.Context, o options) error {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if o.heldOut {
		for _, row := range world.New(heldOutSeed).HeldOut(o.each) {
			if err := encoder.Encode(row); err != nil {
				return fmt.Errorf("print a held-out row: %w", err)
			}
		}
		return nil
	}
	g := world.New(trainSeed)
	for range o.rows {
		if err := encoder.Encode(g.Train(world.Balanced)); err != nil {
			return fmt.Errorf("print a row: %w", err)
		}
	}
	return nil
}

// makeTokenizer learns the vocabulary from training rows only and writes the tokenizer's files.
func makeTokenizer(_ context.Context, o options) error {
	trainer := bpe.NewTrainer()
	trainer.AddCharacters(bpe.Characters)
	g := world.New(trainSeed)
	for range tokenizerRows {
		row := g.Train(world.Balanced)
		trainer.Add("user\n" + row.Question + "\n")
		trainer.Add("assistant\n" + row.Answer + "\n")
		trainer.Add("system\n")
	}
	vocabulary, err := trainer.Learn(vocabularySize-len(bpe.Controls), 20)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return fmt.Errorf("make the model folder: %w", err)
	}
	if err := vocabulary.WriteFiles(o.out); err != nil {
		return err
	}
	fmt.Printf("tokenizer: %d tokens, %d merges, %d control tokens → %s\n", len(vocabulary.Tokens), len(vocabulary.Merges), len(bpe.Controls), o.out)
	return nil
}
