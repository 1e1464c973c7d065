package device

import (
	_ "unsafe" // for go:linkname

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/go-xla/compute/xla"
)

// extended is a backend with what GoMLX does not know of: see [WithOneDNN], [WithKernels] and [Donating]. It, its builder and their
// functions hand everything else to what they wrap.
type extended struct {
	compute.Backend
	// oneDNN computes what it can, but what kernels compute.
	oneDNN bool
	// kernels are those of functions, packs that of packed products, linear that of plain ones, halves says that these multiply f32 with halves.
	kernels, packs, linear, halves bool
	// outputs are written over inputs of the main function, by the names of these.
	outputs map[string]int
}

type extendedBuilder struct {
	compute.Builder
	with extended
}

type extendedFunction struct {
	compute.Function
	builder extendedBuilder
	outputs map[string]int // see extended
}

func (e extended) Builder(name string) compute.Builder {
	return extendedBuilder{e.Backend.Builder(name), e}
}

func (b extendedBuilder) Main() compute.Function {
	return extendedFunction{b.Builder.Main(), b, b.with.outputs}
}

func (b extendedBuilder) NewFunction(name string) (compute.Function, error) {
	f, err := b.Builder.NewFunction(name)
	if err != nil {
		return nil, err
	}
	return extendedFunction{f, b, nil}, nil
}

// customCall is go-xla's own; it has no exported way to call a function of the plugin.
//
//go:linkname customCall github.com/gomlx/go-xla/compute/xla.(*Function).customCall
func customCall(f *xla.Function, target, config string, operandLayouts [][]int, outputs []shapes.Shape, outputLayouts [][]int,
	operands ...compute.Value) ([]compute.Value, error)
