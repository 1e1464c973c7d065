package generate

import (
	"fmt"

	"descant/pkg/model"
)

// prefill runs the next chunk of a sequence's prompt and returns the logits [vocab] behind its last token, or nil
// while there is more of it. filled is the longest row of the cache.
func (s *stepper) prefill(seq *sequence, filled int) ([]float32, error) {
	rest := seq.ids[seq.cached:]
	if err := s.resize(max(filled, seq.cached+min(len(rest), largestChunk())), filled); err != nil {
		return nil, err
	}
	var batches []batchShape
	for _, tokens := range chunks() {
		// A longer chunk is for a rest that fills more of it than the smallest chunk would leave empty.
		if tokens == chunks()[0] || len(rest) > tokens-chunks()[0] {
			batches = append([]batchShape{{1, tokens}}, batches...)
		}
	}
	batch := []*sequence{seq}
	shape := s.choose(batch, batches...)
	n := min(len(rest), shape.tokens)
	in := s.inputs[shape.batchShape]
	clear(in.ids.Values())
	copy(in.ids.Values(), rest[:n])
	logits, err := s.run(shape, batch, n, n == len(rest))
	if err != nil {
		return nil, fmt.Errorf("prefill: %w", err)
	}
	s.advance(seq, n)
	return logits, nil
}

// advance says that n more tokens of a sequence are in the cache.
func (s *stepper) advance(seq *sequence, n int) {
	seq.cached += n
	s.filled[seq.row] = seq.cached
}

// choose takes the first of the batches that can run now, in the fastest way that is compiled. The last one always can.
func (s *stepper) choose(batch []*sequence, batches ...batchShape) stepShape {
	modes := s.plan.modes(batch)
	for _, b := range batches {
		for _, mode := range modes {
			if shape := (stepShape{b, mode}); s.programs.has(s.plan, shape, s.cache.context) {
				return shape
			}
		}
	}
	return stepShape{batches[len(batches)-1], modes[len(modes)-1]}
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
	var batches []batchShape
	for _, rows := range rowCounts(s.plan.rows) {
		if rows >= len(batch) && (rows == 1 || len(batch) > 1) {
			batches = append(batches, batchShape{rows, 1})
		}
	}
	shape := s.choose(batch, batches...)
	in := s.inputs[shape.batchShape]
	clear(in.ids.Values())
	for i, seq := range batch {
		in.ids.Values()[s.place(shape, i, seq)] = seq.ids[seq.cached]
	}
	logits, err := s.run(shape, batch, 1, true)
	if err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	vocab := s.base.Config.Vocab
	out := make([][]float32, len(batch))
	for i, seq := range batch {
		at := s.place(shape, i, seq) * vocab
		out[i] = logits[at : at+vocab]
		s.advance(seq, 1)
	}
	return out, nil
}

// verify runs the newest token of a sequence and a draft of those that may follow. It returns the logits [vocab] behind
// each of them, or nil where this cannot be done now without compiling.
func (s *stepper) verify(seq *sequence, draft []int32, filled int) ([][]float32, error) {
	n := 1 + len(draft)
	if err := s.resize(max(filled, seq.cached+n), filled); err != nil {
		return nil, err
	}
	batch := []*sequence{seq}
	shape := s.choose(batch, batchShape{1, s.plan.verify})
	if !s.programs.has(s.plan, shape, s.cache.context) {
		return nil, nil
	}
	ids := s.inputs[shape.batchShape].ids.Values()
	clear(ids)
	ids[0] = seq.ids[seq.cached]
	copy(ids[1:], draft)
	logits, err := s.run(shape, batch, n, true)
	if err != nil {
		return nil, fmt.Errorf("verify a draft: %w", err)
	}
	vocab := s.base.Config.Vocab
	out := make([][]float32, n)
	for i := range out {
		out[i] = logits[i*vocab : (i+1)*vocab]
	}
	return out, nil
}

// place is the row that the i-th sequence has in a batch.
func (s *stepper) place(shape stepShape, i int, seq *sequence) int {
	if shape.rows == s.plan.rows {
		return seq.row
	}
	return i
}

// run sends the filled ids through the model: n new tokens of each sequence, behind its cached ones. It returns
// the logits [rows·vocab] behind the n-th, or nil if they are not wanted.
func (s *stepper) run(shape stepShape, batch []*sequence, n int, wanted bool) ([]float32, error) {
	in := s.inputs[shape.batchShape]
	if err := s.fill(in, shape, batch, n); err != nil {
		return nil, err
	}
	out, err := s.programs.embeds[shape.batchShape].run(in.ids.Array(), s.base.Embed)
	if err != nil {
		return nil, err
	}
	x := out[0]
	defer func() { x.Free() }()
	var fresh []*model.Array
	defer func() { model.FreeAll(fresh...) }()
	layer := 0
	for _, run := range s.plan.layerRuns(shape, s.cache.context) {
		out, err := s.programs.layers[run].run(s.arguments(x, in, run, layer)...)
		if err != nil {
			return nil, err
		}
		x.Free()
		x = out[0]
		if s.plan.inPlace {
			fresh = append(fresh, out[1])
		} else {
			for i := range run.layers {
				s.cache.replace(layer+i, out[1+2*i], out[2+2*i])
			}
		}
		layer += run.layers
	}
	var logits []float32
	if wanted {
		args, last := []*model.Array{x, s.base.Norm}, s.plan.wanted(shape.batchShape)
		if s.plan.plainHead(last) {
			args = append(args, s.base.Head)
		} else {
			args = append(args, s.heads...)
		}
		out, err := s.programs.heads[last].run(args...)
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
func (s *stepper) fill(in *stepInputs, shape stepShape, batch []*sequence, n int) error {
	clear(in.ranges.Values())
	in.token.Values()[0] = int32(n - 1)
	s.idle(in, shape, batch)
	positions := make([]int, shape.tokens)
	for i, seq := range batch {
		at := s.place(shape, i, seq)
		in.cached.Values()[at], in.rows.Values()[at] = int32(seq.cached), int32(seq.row)
		for t := range shape.tokens {
			positions[t] = seq.cached + t
		}
		cos, sin := s.base.Config.Rope.For(seq.length()).Tables(positions)
		copy(in.cos.Values()[at*len(cos):], cos)
		copy(in.sin.Values()[at*len(sin):], sin)
		if seq.adapter != nil {
			copy(in.ranges.Values()[2*at:], []int32{int32(seq.adapter.from), int32(seq.adapter.to)})
			// Of columns that are not all to the right of it a slice takes the last ones.
			in.start.Values()[0] = int32(min(seq.adapter.from, s.plan.adapters.columns-s.plan.width))
		}
	}
	return in.commit(shape.mode)
}

// idle gives the rows of a batch that nobody is in a row of the cache that no sequence of the batch has. Where the
// graphs write the cache, such a row writes behind what is filled, where nothing is yet.
func (s *stepper) idle(in *stepInputs, shape stepShape, batch []*sequence) {
	taken := make([]bool, s.plan.rows)
	for _, seq := range batch {
		taken[seq.row] = true
	}
	if shape.rows == s.plan.rows {
		for row := range s.plan.rows {
			in.rows.Values()[row], in.cached.Values()[row] = int32(row), int32(s.filled[row])
		}
		return
	}
	row := 0
	for at := len(batch); at < shape.rows; at++ {
		for taken[row] {
			row++
		}
		taken[row] = true
		in.rows.Values()[at], in.cached.Values()[at] = int32(row), int32(s.filled[row])
	}
}

// arguments lists the inputs of a run of layers, which begins at first, in the order of layerPlan.inputs.
func (s *stepper) arguments(x *model.Array, in *stepInputs, shape layerShape, first int) []*model.Array {
	list := []*model.Array{x, in.cos.Array(), in.sin.Array(), in.cached.Array()}
	if shape.rows < s.plan.rows {
		list = append(list, in.rows.Array())
	}
	if shape.mode != noAdapter {
		list = append(list, in.ranges.Array())
	}
	if shape.mode == oneAdapter {
		list = append(list, in.start.Array())
	}
	if shape.last {
		list = append(list, in.token.Array())
	}
	for layer := first; layer < first+shape.layers; layer++ {
		list = append(list, s.cache.keys[layer], s.cache.values[layer])
		list = append(list, s.base.Layers[layer]...)
		if shape.mode != noAdapter {
			list = append(list, s.adapters.inputs(layer)...)
		}
	}
	return list
}

// keep writes the new keys and values [layers, rows, tokens, 2, heads, D] of each run of layers into the cache.
func (s *stepper) keep(fresh []*model.Array, shape stepShape, batch []*sequence, n int) error {
	width := s.base.Config.KVWidth()
	layer := 0
	for _, array := range fresh {
		content, err := model.Download[float32](array)
		if err != nil {
			return err
		}
		for k := range array.Shape().Dim(0) {
			for i, seq := range batch {
				for t := range n {
					at := ((k*shape.rows+s.place(shape, i, seq))*shape.tokens + t) * 2 * width
					s.cache.write(layer, seq.row, seq.cached+t, content[at:at+width], content[at+width:at+2*width])
				}
			}
			layer++
		}
	}
	return nil
}
