package main

import (
	"context"
	"fmt"
	"sync"

	"descant/pkg/device"
	"descant/pkg/generate"
	"descant/scripts/tinybase/world"
)

// score counts exact answers.
type score struct{ right, asked int }

func (s score) String() string {
	return fmt.Sprintf("%d of %d (%.1f %%)", s.right, s.asked, 100*float64(s.right)/float64(s.asked))
}

// passMark is the share of exact answers that the base must reach.
const passMark = 0.80

// evaluate asks the held-out questions and prints the scores.
func evaluate(ctx context.Context, o options) error {
	result, err := examine(ctx, o)
	if err != nil {
		return err
	}
	for _, line := range result.lines() {
		fmt.Printf("%-14s %s\n", line.name, line.score)
	}
	for _, m := range result.mistakes[:min(len(result.mistakes), o.mistakes)] {
		fmt.Printf("mistake: %q → %q, right is %q\n", m.question, m.said, m.right)
	}
	return result.verdict()
}

// verdict is an error where too few answers are right.
func (e *examination) verdict() error {
	if share := float64(e.total.right) / float64(e.total.asked); share < passMark {
		return fmt.Errorf("only %s exact answers; %.0f %% are wanted", e.total, 100*passMark)
	}
	return nil
}

type mistake struct{ question, said, right string }

// examination is the result of asking all held-out questions.
type examination struct {
	total    score
	by       map[string]score // "category language"
	mistakes []mistake
}

type scoreLine struct{ name, score string }

func (e *examination) lines() []scoreLine {
	var out []scoreLine
	for _, category := range world.Examined {
		for _, language := range []string{"en", "zh"} {
			key := string(category) + " " + language
			out = append(out, scoreLine{key, e.by[key].String()})
		}
	}
	return append(out, scoreLine{"all", e.total.String()})
}

// examine answers the held-out questions greedily through the chat template, several at a time.
func examine(ctx context.Context, o options) (*examination, error) {
	talk, err := loadDialogue(o.out)
	if err != nil {
		return nil, err
	}
	dev, err := device.Open(o.device)
	if err != nil {
		return nil, err
	}
	defer dev.Close()
	engine, err := generate.New(dev, o.out, generate.Options{MaxContext: 256, MaxRows: 16, Slots: -1})
	if err != nil {
		return nil, err
	}
	defer engine.Close()
	rows := world.New(heldOutSeed).HeldOut(o.each)
	said := make([]string, len(rows))
	failed := make([]error, len(rows))
	var wait sync.WaitGroup
	room := make(chan struct{}, 16)
	for i, row := range rows {
		wait.Add(1)
		go func() {
			defer wait.Done()
			room <- struct{}{}
			defer func() { <-room }()
			said[i], failed[i] = answer(ctx, engine, talk, row.Question)
		}()
	}
	wait.Wait()
	result := &examination{by: map[string]score{}}
	for i, row := range rows {
		if failed[i] != nil {
			return nil, fmt.Errorf("ask %q: %w", row.Question, failed[i])
		}
		key := string(row.Category) + " " + row.Language
		s := result.by[key]
		s.asked++
		result.total.asked++
		if said[i] == row.Answer {
			s.right++
			result.total.right++
		} else {
			result.mistakes = append(result.mistakes, mistake{row.Question, said[i], row.Answer})
		}
		result.by[key] = s
	}
	return result, nil
}

// answer generates greedily until the end of the turn.
func answer(ctx context.Context, engine *generate.Engine, talk *dialogue, question string) (string, error) {
	prompt, err := talk.question(question)
	if err != nil {
		return "", err
	}
	var ids []int32
	_, err = engine.Generate(ctx, generate.Request{Prompt: prompt, MaxTokens: 96, StopIDs: talk.tokenizer.EOS()}, func(token generate.Token) error {
		ids = append(ids, token.ID)
		return nil
	})
	return talk.tokenizer.Decode(ids, true), err
}
