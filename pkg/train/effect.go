package train

import (
	"cmp"
	"math"
	"slices"

	"descant/pkg/model"
)

// Probe is a prompt and some of the logits behind it: who has loaded the adapter must see them too.
type Probe struct {
	// Prompt holds token ids. They depend on the vocabulary alone, never on the data.
	Prompt []int32
	// IDs are those of the likeliest tokens and of those that the adapter changes most, at most 2·probeIDs; Logits are
	// theirs with the adapter, Base without.
	IDs          []int32
	Logits, Base []float32
}

// probeIDs is how many of the likeliest, and of the most changed, tokens a probe has.
const probeIDs = 8

// probePrompt is the fixed prompt of a vocabulary.
func probePrompt(length, vocab int) []int32 {
	ids := make([]int32, length)
	for i := range ids {
		ids[i] = int32((1000 + i*i*31 + i*17) % vocab)
	}
	return ids
}

// effect runs the first row of the dataset and the fixed prompt with and without the adapter. It returns the largest
// change of a logit at a few places of the row, and what the prompt gives.
func (r *run) effect() (float64, *Probe, error) {
	ids, _ := r.cfg.Rows.Row(0)
	ids = ids[:min(len(ids), 32)]
	width, vocab := len(ids), r.engine.config.Vocab
	prompt := probePrompt(width, vocab)
	b := model.Batch{Rows: 2, Width: width, IDs: slices.Concat(ids, prompt)}
	places := []int32{int32(width / 2), int32(width - 1), int32(2*width - 1)}
	params := make([]*model.Array, len(r.engine.layers))
	for i, g := range r.engine.layers {
		if g != nil {
			params[i] = g.value
		}
	}
	var logits [2][]float32
	for i, patch := range []model.Patch{nil, r.adapter} {
		f := model.NewForward(r.engine.base, r.compiler, patch, params)
		defer f.Close()
		var err error
		if _, logits[i], err = f.Logits(b, places); err != nil {
			return 0, nil, err
		}
	}
	largest := 0.0
	for i := range 2 * vocab {
		largest = max(largest, math.Abs(float64(logits[0][i])-float64(logits[1][i])))
	}
	return largest, newProbe(prompt, logits[0][2*vocab:], logits[1][2*vocab:]), nil
}

// newProbe chooses what is told of the logits [vocab] behind the prompt.
func newProbe(prompt []int32, base, adapted []float32) *Probe {
	p := &Probe{Prompt: prompt}
	change := func(id int32) float64 { return math.Abs(float64(adapted[id]) - float64(base[id])) }
	ids := make([]int32, len(adapted))
	for i := range ids {
		ids[i] = int32(i)
	}
	for _, by := range []func(a, b int32) int{
		func(a, b int32) int { return cmp.Or(cmp.Compare(adapted[b], adapted[a]), cmp.Compare(a, b)) },
		func(a, b int32) int { return cmp.Or(cmp.Compare(change(b), change(a)), cmp.Compare(a, b)) },
	} {
		slices.SortFunc(ids, by)
		p.IDs = append(p.IDs, ids[:min(probeIDs, len(ids))]...)
	}
	slices.Sort(p.IDs)
	p.IDs = slices.Compact(p.IDs)
	for _, id := range p.IDs {
		p.Logits, p.Base = append(p.Logits, adapted[id]), append(p.Base, base[id])
	}
	return p
}
