package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"descant/pkg/chat"
	"descant/pkg/generate"
	"descant/pkg/lora"
	"descant/pkg/model"
)

// evalAnswer is a row with what the models say to it.
type evalAnswer struct {
	// Row counts from 0; Line is its line in the file, from 1.
	Row       int            `json:"row"`
	Line      int            `json:"line"`
	Messages  []chat.Message `json:"messages"`       // up to the answer
	Text      string         `json:"text,omitempty"` // of a plain text, which has no messages
	Reference string         `json:"reference"`
	Models    []modelAnswer  `json:"models"`
}

// modelAnswer is what one model says and loses on a row.
type modelAnswer struct {
	Name string `json:"name"`
	// Loss is the mean over the answer tokens of the row, in nats; null where the row has none within max_length.
	Loss *float64 `json:"loss"`
	// Answer is null for a row that was not to be answered. Finish says why it ended: stop, length, or no_room when the
	// prompt alone fills the model's context.
	Answer *string `json:"answer"`
	Finish string  `json:"finish,omitempty"`
	Exact  bool    `json:"exact_match"`
}

// noRoom: the prompt alone is longer than the base can read.
const noRoom = "no_room"

// answers has every model answer the first rows, all in one batch, and collects what is known of each row.
func (e *evaluation) answers(ctx context.Context) error {
	for i, row := range e.rows.list {
		answer := evalAnswer{Row: row.Index, Line: row.Line, Messages: row.Messages[:max(0, len(row.Messages)-1)], Text: row.Text, Reference: row.reference}
		for _, m := range e.models {
			said := modelAnswer{Name: m.Name}
			if l := m.losses[i]; l.Tokens > 0 {
				mean := l.NLL / float64(l.Tokens)
				said.Loss = &mean
			}
			answer.Models = append(answer.Models, said)
		}
		e.result.Answers = append(e.result.Answers, answer)
	}
	wanted := e.rows.asked(e.o.limitAnswers)
	if len(wanted) == 0 {
		return nil
	}
	engine, err := e.openEngine(ctx, wanted)
	if err != nil {
		return err
	}
	defer engine.Close()
	return e.generate(ctx, engine, wanted)
}

// openEngine loads the base with all adapters.
func (e *evaluation) openEngine(ctx context.Context, wanted []int) (*generate.Engine, error) {
	config, err := model.ReadConfig(e.base.Dir)
	if err != nil {
		return nil, err
	}
	opts := generate.Options{MaxRows: min(8, len(wanted)*len(e.models)), Slots: -1, UsedVocab: min(e.text.VocabSize(), config.Vocab)}
	for _, i := range wanted {
		opts.MaxContext = max(opts.MaxContext, min(len(e.rows.list[i].prompt)+e.o.maxTokens, config.MaxPositions))
	}
	for _, m := range e.models[1:] {
		rank, err := largestRank(config, m.dir)
		if err != nil {
			return nil, err
		}
		opts.Slots, opts.MaxRank = len(e.models)-1, max(opts.MaxRank, rank)
	}
	engine, err := generate.New(e.device, e.base.Dir, opts)
	if err != nil {
		return nil, err
	}
	for _, m := range e.models[1:] {
		if err := engine.LoadAdapter(ctx, m.Name, m.dir); err != nil {
			engine.Close()
			return nil, err
		}
	}
	return engine, nil
}

// largestRank is the number of columns that an adapter takes.
func largestRank(config *model.Config, dir string) (rank int, err error) {
	data, err := os.ReadFile(filepath.Join(dir, lora.ConfigFile))
	if err != nil {
		return 0, fmt.Errorf("load adapter: %w", err)
	}
	c, err := lora.ParseConfig(data)
	if err != nil {
		return 0, fmt.Errorf("load adapter %s: %w", dir, err)
	}
	plan, err := lora.NewPlan(config, c)
	if err != nil {
		return 0, fmt.Errorf("load adapter %s: %w", dir, err)
	}
	for _, layer := range plan.Layers {
		for _, m := range layer {
			rank = max(rank, m.Rank)
		}
	}
	return rank, nil
}

// generate fills in the answers to the rows.
func (e *evaluation) generate(ctx context.Context, engine *generate.Engine, wanted []int) error {
	show := e.app.newCounter("answers", "answers", len(wanted)*len(e.models))
	defer show.end()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for _, i := range wanted {
		for k, m := range e.models {
			group.Go(func() error {
				defer show.add(1)
				return e.answer(ctx, engine, e.rows.list[i], m, &e.result.Answers[i].Models[k])
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, i := range wanted {
		for k, said := range e.result.Answers[i].Models {
			m := e.models[k]
			if said.Answer != nil {
				m.Answered++
			}
			if said.Exact {
				m.Exact++
			}
			if said.Finish == generate.ReasonLength {
				m.Cut++
			}
		}
	}
	return nil
}

// answer has one model answer one row.
func (e *evaluation) answer(ctx context.Context, engine *generate.Engine, row evalRow, m *evaluated, said *modelAnswer) error {
	room := engine.MaxContext() - len(row.prompt)
	if room < 1 {
		said.Finish = noRoom
		return nil
	}
	request := generate.Request{Prompt: row.prompt, MaxTokens: min(e.o.maxTokens, room), StopIDs: e.text.EOS()}
	if m.dir != "" {
		request.Adapter = m.Name
	}
	var text strings.Builder
	stream := e.text.NewStream()
	finish, err := engine.Generate(ctx, request, func(token generate.Token) error {
		text.WriteString(stream.Push(token.ID))
		return nil
	})
	if err != nil {
		return fmt.Errorf("answer of %s to %s: %w", m.Name, row.Where(), err)
	}
	text.WriteString(stream.Flush())
	answer := text.String()
	said.Answer, said.Finish = &answer, finish.Reason
	said.Exact = strings.TrimSpace(answer) == strings.TrimSpace(row.reference)
	return nil
}

// write stores every row as a line.
func (e *evaluation) write(path string) (err error) {
	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("write answers: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for _, answer := range e.result.Answers {
		if err := encoder.Encode(answer); err != nil {
			return fmt.Errorf("write answers to %s: %w", path, err)
		}
	}
	return nil
}
