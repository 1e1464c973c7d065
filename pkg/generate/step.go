package generate

import (
	"fmt"

	"descant/pkg/model"
)

// prefill runs the next chunk of a sequence's prompt and returns the logits [vocab] behind its last token, or nil
// while there is more of it. filled is the longest row of the cache.
func (s *stepper) prefill(seq *sequence, filled int) ([]float32, error) {
	rest := seq.ids[seq.cached:]
	largest := chunks()[len(chunks())-1]
	if err := s.resize(max(filled, seq.cached+min(len(rest), largest)), filled); err != nil {
		return nil, err
	}
	shape := batchShape{1, chunks()[0]}
	for _, tokens := range chunks() {
		if larger := (batchShape{1, tokens}); shape.tokens < len(rest) && s.programs.has(s.base.Config, larger, s.cache.context) {
			shape = larger
		}
	}
	n := min(len(rest), shape.tokens)
	in := s.inputs[shape]
	clear(in.ids.Values())
	copy(in.ids.Values(), rest[:n])
	logits, err := s.run(shape, []*sequence{seq}, n, n == len(rest))
	if err != nil {
		return nil, fmt.Errorf("prefill: %w", err)
	}
	seq.cached += n
	return logits, nil
}

// decode runs the newest token of every sequence and returns the logits [vocab] of each, in order.
//
// On a CPU few rows go through the model in turn: XLA's float32 product of 2 rows or more reads the weights three
// times slower than that of one row.
func (s *stepper) decode(batch []*sequence, filled int) ([][]float32, error) {
	if len(batch) > s.inTurn {
		return s.decodeBatch(batch, filled)
	}
	var all [][]float32
	for _, seq := range batch {
		logits, err := s.decodeBatch([]*sequence{seq}, filled)
		if err != nil {
			return nil, err
		}
		all = append(all, logits...)
	}
	return all, nil
}

// decodeBatch is decode in one step.
func (s *stepper) decodeBatch(batch []*sequence, filled int) ([][]float32, error) {
	if err := s.resize(filled+1, filled); err != nil {
		return nil, err
	}
	shape := batchShape{1, 1}
	if len(batch) > 1 {
		shape.rows = s.rows
	}
	in := s.inputs[shape]
	clear(in.ids.Values())
	for _, seq := range batch {
		in.ids.Values()[s.slot(shape, seq)] = seq.ids[seq.cached]
	}
	logits, err := s.run(shape, batch, 1, true)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	vocab := s.base.Config.Vocab
	out := make([][]float32, len(batch))
	for i, seq := range batch {
		seq.cached++
		at := s.slot(shape, seq) * vocab
		out[i] = logits[at : at+vocab]
	}
	return out, nil
}

// slot is the index of a sequence in a batch.
func (s *stepper) slot(shape batchShape, seq *sequence) int {
	if shape.rows == s.rows {
		return seq.row
	}
	return 0
}

// run sends the filled ids through the model: n new tokens of each sequence, behind its cached ones. It returns
// the logits [rows·vocab] behind the n-th, or nil if they are not wanted.
func (s *stepper) run(shape batchShape, batch []*sequence, n int, wanted bool) ([]float32, error) {
	in := s.inputs[shape]
	if err := s.fill(in, shape, batch, n); err != nil {
		return nil, err
	}
	out, err := s.programs.embeds[shape].run(in.ids.Array(), s.base.Embed)
	if err != nil {
		return nil, err
	}
	x := out[0]
	defer func() { x.Free() }()
	var fresh []*model.Array
	defer func() { model.FreeAll(fresh...) }()
	for layer := range s.base.Layers {
		program := s.programs.layers[layerShapeOf(s.base.Config, layer, shape, s.cache.context)]
		out, err := program.run(s.arguments(x, in, shape, layer)...)
		if err != nil {
			return nil, err
		}
		x.Free()
		x = out[0]
		if s.cache.inPlace {
			fresh = append(fresh, out[1])
		} else {
			s.cache.replace(layer, out[1], out[2])
		}
	}
	var logits []float32
	if wanted {
		out, err := s.programs.heads[shape].run(x, in.token.Array(), s.base.Norm, s.base.Head)
		if err != nil {
			return nil, err
		}
		defer out[0].Free()
		if logits, err = model.Download[float32](out[0]); err != nil {
			return nil, err
		}
	}
	return logits, s.keep(fresh, shape, batch, n)
}

// fill sets the inputs of a step apart from the ids. Rows of the batch without a sequence compute something that
// nobody reads.
func (s *stepper) fill(in *stepInputs, shape batchShape, batch []*sequence, n int) error {
	positions := make([]int, shape.tokens)
	clear(in.cached.Values())
	if in.mask != nil {
		clear(in.mask.Values())
	}
	in.token.Values()[0] = int32(n - 1)
	for _, seq := range batch {
		slot := s.slot(shape, seq)
		in.cached.Values()[slot] = int32(seq.cached)
		in.row.Values()[0] = int32(seq.row)
		for t := range shape.tokens {
			positions[t] = seq.cached + t
		}
		cos, sin := s.base.Config.Rope.For(seq.length()).Tables(positions)
		copy(in.cos.Values()[slot*len(cos):], cos)
		copy(in.sin.Values()[slot*len(sin):], sin)
		if seq.adapter != nil {
			for c := seq.adapter.from; c < seq.adapter.to; c++ {
				in.mask.Values()[slot*s.columns+c] = true
			}
		}
	}
	for _, commit := range []func() error{in.ids.Commit, in.cached.Commit, in.row.Commit, in.token.Commit,
		in.cos.Commit, in.sin.Commit} {
		if err := commit(); err != nil {
			return err
		}
	}
	if in.mask != nil {
		return in.mask.Commit()
	}
	return nil
}

// arguments lists a layer's inputs in the order of layerPlan.inputs.
func (s *stepper) arguments(x *model.Array, in *stepInputs, shape batchShape, layer int) []*model.Array {
	list := []*model.Array{x, in.cos.Array(), in.sin.Array(), in.cached.Array()}
	if shape.rows < s.rows {
		list = append(list, in.row.Array())
	}
	if in.mask != nil {
		list = append(list, in.mask.Array())
	}
	list = append(list, s.cache.keys[layer], s.cache.values[layer])
	list = append(list, s.base.Layers[layer]...)
	return append(list, s.adapters.inputs(layer)...)
}

// keep writes the new keys and values [rows, tokens, 2, heads, D] of each layer into the cache.
func (s *stepper) keep(fresh []*model.Array, shape batchShape, batch []*sequence, n int) error {
	width := s.base.Config.KVWidth()
	for layer, array := range fresh {
		content, err := model.Download[float32](array)
		if err != nil {
			return err
		}
		for _, seq := range batch {
			for t := range n {
				at := (s.slot(shape, seq)*shape.tokens + t) * 2 * width
				s.cache.write(layer, seq.row, seq.cached+t, content[at:at+width], content[at+width:at+2*width])
			}
		}
	}
	return nil
}
