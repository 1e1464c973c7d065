package main

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"descant/pkg/job"
	"descant/pkg/safetensors"
	"descant/scripts/tinybase/world"
)

//go:embed card.md
var cardText string

// card is what the model card is filled with.
type card struct {
	Parameters, Vocabulary, Asked int
	PassMark                      float64
	Recipe                        cardRecipe
	Scores                        []cardScore
	Examples                      []world.Row
	Mistakes                      []cardMistake
}

type cardScore struct{ Name, Score string }

type cardMistake struct{ Question, Said, Right string }

type cardRecipe struct {
	Rows, MaxLength, Batch                                     int
	Phases                                                     []cardPhase
	Hidden, Layers, Heads, KVHeads, Intermediate, MaxPositions int
	Beta1, Beta2                                               float64
	Took                                                       string
}

type cardPhase struct {
	Steps, Warmup int
	Rate, Decay   float64
}

// writeCard examines the model and writes what came out into its README.md.
func writeCard(ctx context.Context, o options) error {
	result, err := examine(ctx, o)
	if err != nil {
		return err
	}
	s := recipe.shape
	c := card{
		Vocabulary: vocabularySize, Asked: result.total.asked, PassMark: 100 * passMark, Examples: examples(),
		Recipe: cardRecipe{
			MaxLength: recipe.maxLength, Batch: recipe.batch, Hidden: s.hidden, Layers: s.layers, Heads: s.heads, KVHeads: s.kvHeads,
			Intermediate: s.intermediate, MaxPositions: s.maxPositions,
			Beta1: job.DefaultTraining().AdamBeta1, Beta2: recipe.beta2, Took: recipe.took,
		},
	}
	for _, p := range recipe.phases {
		c.Recipe.Rows += p.rows
		c.Recipe.Phases = append(c.Recipe.Phases, cardPhase{Steps: p.steps, Warmup: p.warmup, Rate: p.rate, Decay: p.decay})
	}
	if c.Parameters, err = countParameters(o.out); err != nil {
		return err
	}
	for _, line := range result.lines() {
		c.Scores = append(c.Scores, cardScore{line.name, line.score})
	}
	for _, m := range result.mistakes[:min(len(result.mistakes), 5)] {
		c.Mistakes = append(c.Mistakes, cardMistake{m.question, m.said, m.right})
	}
	parsed, err := template.New("card").Parse(cardText)
	if err != nil {
		return fmt.Errorf("parse the card's template: %w", err)
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, c); err != nil {
		return fmt.Errorf("fill in the card: %w", err)
	}
	if err := os.WriteFile(filepath.Join(o.out, "README.md"), out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("write the card: %w", err)
	}
	return result.verdict()
}

// examples draws one row for each examined category and language.
func examples() []world.Row {
	g := world.New(trainSeed)
	var out []world.Row
	for _, category := range world.Examined {
		for _, language := range []string{"en", "zh"} {
			for row := g.Train(world.Balanced); ; row = g.Train(world.Balanced) {
				if row.Category == category && row.Language == language {
					out = append(out, row)
					break
				}
			}
		}
	}
	return out
}

func countParameters(dir string) (int, error) {
	set, err := safetensors.OpenDir(dir)
	if err != nil {
		return 0, err
	}
	defer set.Close()
	count := 0
	for _, name := range set.Names() {
		info, _ := set.Info(name)
		count += info.Elements()
	}
	return count, nil
}

// all makes the model from nothing and writes its card.
func all(ctx context.Context, o options) error {
	for _, step := range []func(context.Context, options) error{makeTokenizer, initialise, trainBase, writeCard} {
		if err := step(ctx, o); err != nil {
			return err
		}
	}
	return nil
}
