package generate

import (
	"fmt"
	"slices"

	"descant/pkg/device"
	"descant/pkg/model"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// stepper runs steps on the device. Only the loop uses it.
type stepper struct {
	base     *model.Model
	compiler *model.Compiler
	plan     layerPlan
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
	// heads are the output matrix, or copies of its parts, or a packed one.
	heads []*model.Array
	// filled positions of each row of the cache, whoever had it last.
	filled []int
}

// newStepper takes the base.
func newStepper(backend compute.Backend, base *model.Model, opts Options, a arrangement) (*stepper, error) {
	cfg := base.Config
	s := &stepper{
		base: base, compiler: model.NewFastCompiler(backend), contexts: contexts(opts.MaxContext),
		inputs: map[batchShape]*stepInputs{}, filled: make([]int, opts.MaxRows),
		plan: layerPlan{config: cfg, rows: opts.MaxRows, inPlace: backend.HasSharedBuffers(),
			verify: opts.DraftTokens + 1, embed: base.Embed.Shape(), head: base.Head.Shape()},
	}
	s.plan.adapters = columnShapes{dtype: dtypes.Float32, rounded: dtypes.Float32, columns: max(0, opts.Slots) * opts.MaxRank, groups: cfg.SharedInputs()}
	if opts.LoraDType == BF16 {
		s.plan.adapters.dtype = dtypes.BFloat16
		if opts.DType == BF16 {
			s.plan.adapters.rounded = dtypes.BFloat16
		}
	}
	s.plan.kernels = device.HasKernels(s.compiler.Backend())
	s.plan.fuses = s.plan.adapters.rounded == model.Arithmetic(base.DType()) && device.FusesAdapters(s.compiler.Backend(), base.DType())
	if s.plan.adapters.columns > 0 && !s.plan.kernels && backend.Capabilities().Operations[compute.OpTypeDynamicSlice] {
		s.plan.width = opts.MaxRank
	}
	switch {
	case !s.plan.inPlace:
		s.slack = largestChunk()
	case base.DType() != dtypes.Float32:
		s.inTurn = 1
	default: // on a CPU
		s.inTurn = 3
	}
	if err := s.prepare(a); err != nil {
		s.free()
		return nil, err
	}
	return s, nil
}

// prepare makes everything that a step can need.
func (s *stepper) prepare(a arrangement) (err error) {
	packed, packHead, err := s.packable(a)
	if err != nil {
		return err
	}
	if err := s.arrange(a, packed); err != nil {
		return err
	}
	backend, cfg := s.compiler.Backend(), s.base.Config
	s.cache = newCache(backend, cfg, s.plan.rows, s.plan.inPlace)
	if s.adapters, err = newAdapterMemory(backend, cfg.Layers, s.plan.adapters); err != nil {
		return err
	}
	if err := s.prepareHead(packHead); err != nil {
		return err
	}
	list, required := s.plan.shapes(slices.Max(s.contexts))
	for _, shape := range list {
		if s.inputs[shape.batchShape] == nil {
			if s.inputs[shape.batchShape], err = newInputs(backend, s.plan, shape.batchShape); err != nil {
				return err
			}
		}
	}
	if err := s.resize(0, 0); err != nil {
		return err
	}
	var sizes []int
	for _, context := range s.contexts {
		sizes = append(sizes, context+s.slack)
	}
	s.programs, err = newPrograms(s.compiler, s.plan, list, required, sizes)
	return err
}

// prepareHead packs a head in bf16 or halves on a CPU, or cuts it into pieces, and leaves others whole.
func (s *stepper) prepareHead(pack bool) (err error) {
	s.heads = []*model.Array{s.base.Head}
	switch {
	case pack:
		program, err := compileForm(s.compiler, []shapes.Shape{s.plan.head}, true, 1)
		if err != nil {
			return err
		}
		defer program.Close()
		if s.heads, err = program.Run(s.base.Head); err != nil {
			return err
		}
	case s.plan.inPlace && s.plan.head.DType == dtypes.BFloat16:
		if s.heads, err = splitHead(s.compiler, s.base.Head, headPiece); err != nil {
			return err
		}
	}
	for _, piece := range s.heads {
		s.plan.pieces = append(s.plan.pieces, piece.Shape())
	}
	return nil
}

// contexts are 256 and its multiples by 4 below the longest one, and that.
func contexts(longest int) []int {
	var list []int
	for c := 256; c < longest; c *= 4 {
		list = append(list, c)
	}
	return append(list, longest)
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
		in.free()
	}
	if len(s.heads) > 0 && s.heads[0] != s.base.Head {
		model.FreeAll(s.heads...)
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
