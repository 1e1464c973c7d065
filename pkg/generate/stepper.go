package generate

import (
	"fmt"
	"slices"

	"descant/pkg/model"

	"github.com/gomlx/compute"
)

// chunks are the numbers of prompt tokens that go through the model at once; a rest is padded to the next one.
func chunks() []int { return []int{32, 256} }

// stepper runs steps on the device. Only the loop uses it.
type stepper struct {
	base     *model.Model
	compiler *model.Compiler
	columns  int
	rows     int
	// contexts are the sizes that the cache may have, ascending; slack positions beyond them take the padding of a
	// chunk where the graphs write the cache.
	contexts []int
	slack    int
	// inTurn is the largest number of rows that decode one after the other instead of as one batch.
	inTurn   int
	cache    *cache
	adapters *adapterMemory
	programs *programs
	inputs   map[batchShape]*stepInputs
}

// stepInputs are the arrays that Go fills before a step of one shape.
type stepInputs struct {
	ids        *model.Writable[int32]   // [rows, tokens]
	cos, sin   *model.Writable[float32] // [rows, tokens, D/2]
	cached     *model.Writable[int32]   // [rows]
	row, token *model.Writable[int32]   // []
	mask       *model.Writable[bool]    // [rows, columns]
}

func newStepper(backend compute.Backend, base *model.Model, opts Options) (*stepper, error) {
	s := &stepper{
		base: base, compiler: model.NewCompiler(backend), rows: opts.MaxRows,
		columns:  max(0, opts.Slots) * opts.MaxRank,
		contexts: contexts(opts.MaxContext), inputs: map[batchShape]*stepInputs{},
	}
	inPlace := backend.HasSharedBuffers()
	if inPlace { // the device is a CPU
		s.inTurn = 3
	} else {
		s.slack = chunks()[len(chunks())-1]
	}
	if err := s.prepare(inPlace); err != nil {
		s.free()
		return nil, err
	}
	return s, nil
}

// prepare makes everything that a step can need.
func (s *stepper) prepare(inPlace bool) (err error) {
	backend, cfg := s.compiler.Backend(), s.base.Config
	s.cache = newCache(backend, cfg, s.rows, inPlace)
	if s.adapters, err = newAdapterMemory(backend, cfg, s.columns); err != nil {
		return err
	}
	batches := s.batches()
	for _, b := range batches {
		if s.inputs[b], err = s.newInputs(b); err != nil {
			return err
		}
	}
	if err := s.resize(0, 0); err != nil {
		return err
	}
	var sizes []int
	for _, context := range s.contexts {
		sizes = append(sizes, context+s.slack)
	}
	plan := layerPlan{config: cfg, rows: s.rows, columns: s.columns, inPlace: inPlace}
	// Larger chunks only speed long prompts up.
	needed := slices.Index(batches, batchShape{1, chunks()[0]}) + 1
	s.programs, err = newPrograms(s.compiler, plan, batches, needed, sizes)
	return err
}

// contexts are 256 and its multiples by 4 below the longest one, and that.
func contexts(longest int) []int {
	var list []int
	for c := 256; c < longest; c *= 4 {
		list = append(list, c)
	}
	return append(list, longest)
}

// batches lists the shapes of steps: one row or all of them with one token, and one row with a chunk of prompt.
func (s *stepper) batches() []batchShape {
	list := []batchShape{{1, 1}}
	if s.rows > 1 {
		list = append(list, batchShape{s.rows, 1})
	}
	longest := s.contexts[len(s.contexts)-1]
	for i, tokens := range chunks() {
		if i == 0 || tokens <= longest {
			list = append(list, batchShape{1, tokens})
		}
	}
	return list
}

func (s *stepper) newInputs(b batchShape) (*stepInputs, error) {
	backend, half := s.compiler.Backend(), s.base.Config.HeadDim/2
	in := &stepInputs{}
	var err error
	make32 := func(dims ...int) (w *model.Writable[int32]) {
		if err == nil {
			w, err = model.NewWritable[int32](backend, dims...)
		}
		return w
	}
	in.ids, in.cached, in.row, in.token = make32(b.rows, b.tokens), make32(b.rows), make32(), make32()
	if err == nil {
		in.cos, err = model.NewWritable[float32](backend, b.rows, b.tokens, half)
	}
	if err == nil {
		in.sin, err = model.NewWritable[float32](backend, b.rows, b.tokens, half)
	}
	if err == nil && s.columns > 0 {
		in.mask, err = model.NewWritable[bool](backend, b.rows, s.columns)
	}
	if err != nil {
		return nil, fmt.Errorf("make room for the inputs of a step: %w", err)
	}
	return in, nil
}

// resize gives the cache the smallest size with room for need positions and keeps the first keep ones. It shrinks
// only when nothing is kept.
func (s *stepper) resize(need, keep int) error {
	for _, context := range s.contexts {
		size := context + s.slack
		if need <= context && (size >= s.cache.context || keep == 0) {
			return s.cache.resize(size, keep)
		}
	}
	return fmt.Errorf("a context of %d tokens is more than the %d of this engine", need, s.contexts[len(s.contexts)-1])
}

func (s *stepper) free() {
	if s.cache != nil {
		s.cache.free()
	}
	if s.adapters != nil {
		s.adapters.free()
	}
	for _, in := range s.inputs {
		if in == nil {
			continue
		}
		for _, w := range []*model.Writable[int32]{in.ids, in.cached, in.row, in.token} {
			w.Free()
		}
		in.cos.Free()
		in.sin.Free()
		in.mask.Free()
	}
	if s.programs != nil {
		s.programs.close()
	}
}

// close frees everything, the base too.
func (s *stepper) close() {
	s.free()
	s.base.Close()
}
