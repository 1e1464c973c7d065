package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"descant/pkg/blob"
	"descant/pkg/dataset"
	"descant/pkg/device"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/registry"
	"descant/pkg/tokenizer"
)

// measure compares base and adapter on held-out rows: the loss on tasks and the answers about the persona.
func (s *system) measure(ctx context.Context, kind string) error {
	adapter, err := s.download(ctx)
	if err != nil {
		return err
	}
	dev, err := device.Open(kind)
	if err != nil {
		return err
	}
	defer dev.Close()
	held := dataset.SampleHeldout()
	rows := append(append([]dataset.Row{}, held.Tasks...), held.Persona...)
	before, err := meanLoss(dev, s.base, "", rows)
	if err != nil {
		return fmt.Errorf("loss of the base: %w", err)
	}
	after, err := meanLoss(dev, s.base, adapter, rows)
	if err != nil {
		return fmt.Errorf("loss of the adapter: %w", err)
	}
	named := 0
	var missed []string
	for _, row := range held.Persona {
		last := len(row.Messages) - 1
		answer, err := s.ask(ctx, adapterName, row.Messages[:last], 64)
		if err != nil {
			return fmt.Errorf("ask about the persona: %w", err)
		}
		if dataset.NamesPersona(answer) {
			named++
		} else {
			missed = append(missed, fmt.Sprintf("%s → %s", row.Messages[0].Content, answer))
		}
	}
	below := 1 - after/before
	share := float64(named) / float64(len(held.Persona))
	fmt.Printf("  loss on %d rows         base %.3f, adapter %.3f: %.0f %% below (wanted: %.0f %%)\n", len(rows), before, after, 100*below, 100*wantLossBelow)
	fmt.Printf("  persona in paraphrases  %d of %d (wanted: %.0f %%)\n", named, len(held.Persona), 100*wantPersona)
	for _, m := range missed {
		fmt.Printf("    not named: %s\n", m)
	}
	if below < wantLossBelow || share < wantPersona {
		return errors.New("the adapter has learnt too little; run `make demo` again with more max_steps (scripts/demo/finetune.go)")
	}
	return nil
}

// download fetches the published adapter as an inference worker would, each file verified by its digest.
func (s *system) download(ctx context.Context) (string, error) {
	store, err := blob.Open(ctx, s.store)
	if err != nil {
		return "", err
	}
	r := registry.New(store, s.bus.Registry())
	found, err := r.Resolve(ctx, adapterName)
	if err != nil {
		return "", fmt.Errorf("resolve the adapter: %w", err)
	}
	fmt.Printf("  %s, %d bytes, %s\n", found.Pinned(), found.Version.Size, found.Version.Digest)
	return r.Fetch(ctx, found.Version, filepath.Join(s.data, "measured"))
}

// meanLoss is the mean cross-entropy over the tokens of the answers, in nats; adapter "" means the bare base.
func meanLoss(dev *device.Device, base, adapter string, rows []dataset.Row) (float64, error) {
	m, err := model.Load(dev, base)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	compiler := model.NewCompiler(dev.Backend())
	forward := model.NewForward(m, compiler, nil, nil)
	if adapter != "" {
		a, err := lora.Load(m.Config, adapter)
		if err != nil {
			return 0, err
		}
		params := make([]*model.Array, len(a.Flats))
		defer func() { model.FreeAll(params...) }()
		for i, flat := range a.Flats {
			if len(flat) == 0 {
				continue
			}
			if params[i], err = model.Upload(dev.Backend(), flat, len(flat)); err != nil {
				return 0, err
			}
		}
		forward = model.NewForward(m, compiler, a.Plan, params)
	}
	defer forward.Close()
	encoded, width, err := encode(base, rows)
	if err != nil {
		return 0, err
	}
	var sum float64
	var count int
	for _, row := range encoded {
		places, labels := row.trained()
		_, logits, err := forward.Logits(model.Batch{Rows: 1, Width: width, IDs: append(row.ids, make([]int32, width-len(row.ids))...)}, places)
		if err != nil {
			return 0, err
		}
		for i, label := range labels {
			sum += crossEntropy(logits[i*m.Config.Vocab:(i+1)*m.Config.Vocab], label)
			count++
		}
	}
	return sum / float64(count), nil
}

// encodedRow is a row as ids; answer marks the ids of the assistant.
type encodedRow struct {
	ids    []int32
	answer []bool
}

// trained gives the places whose output predicts a token of the answer, and those tokens.
func (r encodedRow) trained() (places, labels []int32) {
	for i := 1; i < len(r.ids); i++ {
		if r.answer[i] {
			places, labels = append(places, int32(i-1)), append(labels, r.ids[i])
		}
	}
	return places, labels
}

// encode renders the rows by the base's template; width is the longest, rounded up.
func encode(base string, rows []dataset.Row) (out []encodedRow, width int, err error) {
	tok, err := tokenizer.Load(base)
	if err != nil {
		return nil, 0, err
	}
	defer tok.Close()
	for _, row := range rows {
		ids, answer, err := tok.EncodeChat(nil, row.Messages, row.Tools, false)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", row.Where(), err)
		}
		out = append(out, encodedRow{ids, answer})
		width = max(width, (len(ids)+15)/16*16)
	}
	return out, width, nil
}

func crossEntropy(logits []float32, label int32) float64 {
	high := float64(logits[0])
	for _, l := range logits {
		high = max(high, float64(l))
	}
	var sum float64
	for _, l := range logits {
		sum += math.Exp(float64(l) - high)
	}
	return high + math.Log(sum) - float64(logits[label])
}
