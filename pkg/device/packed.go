package device

import (
	"fmt"
	_ "unsafe" // for go:linkname

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/go-xla/compute/xla"
)

// PackedWidth is the number of outputs that lie together in a packed matrix.
const PackedWidth = 64

// WithPackedProducts returns a backend that shares everything with b and knows one product more, on XLA's CPU client: x
// [rows, in] bf16 with a packed matrix [out/64, in, 64] bf16, contracted over in, with a result [rows, out/64, 64] in f32,
// runs in oneDNN, whose own layout a packed matrix has: blocks of 64 outputs, in each of them pairs of inputs, of these
// 64 outputs, of each of these both inputs. XLA's own product packs its matrix anew in every execution, which for a few rows
// takes three times as long as the product. ok is false, and the backend is b itself, where there is no such client, or the
// processor has no avx512_bf16: there oneDNN has other kernels for bf16, or none.
//
// oneDNN does not promise that layout: whoever uses it compares results first, for every number of rows.
func WithPackedProducts(b compute.Backend) (backend compute.Backend, ok bool) {
	cpu, isXLA := b.(*xla.Backend)
	if !isXLA || !cpu.IsCPU() || !CPUFacts().Has("avx512_bf16") {
		return b, false
	}
	return packing{b}, true
}

// packing, packingBuilder and packingFunction hand everything but the one product to what they wrap.
type packing struct{ compute.Backend }

type packingBuilder struct{ compute.Builder }

type packingFunction struct {
	compute.Function
	builder compute.Builder
}

func (p packing) Builder(name string) compute.Builder { return packingBuilder{p.Backend.Builder(name)} }

func (b packingBuilder) Main() compute.Function { return packingFunction{b.Builder.Main(), b.Builder} }

// DotGeneral is the product of [WithPackedProducts], or that of the backend.
func (f packingFunction) DotGeneral(lhs compute.Value, lhsContracting, lhsBatch []int, rhs compute.Value, rhsContracting, rhsBatch []int,
	config compute.DotGeneralConfig) (compute.Value, error) {
	x, err := f.builder.OpShape(lhs)
	if err != nil {
		return nil, err
	}
	w, err := f.builder.OpShape(rhs)
	if err != nil {
		return nil, err
	}
	if w.Rank() != 3 || w.DType != dtypes.BFloat16 || x.DType != dtypes.BFloat16 || len(rhsBatch) > 0 {
		return f.Function.DotGeneral(lhs, lhsContracting, lhsBatch, rhs, rhsContracting, rhsBatch, config)
	}
	if x.Rank() != 2 || w.Dim(2) != PackedWidth || x.Dim(1) != w.Dim(1) || config.OutputDType != dtypes.Float32 ||
		len(lhsContracting) != 1 || lhsContracting[0] != 1 || len(rhsContracting) != 1 || rhsContracting[0] != 1 {
		return nil, fmt.Errorf("a packed product takes [rows, in] and [out/%d, in, %d], and gives f32: not %s and %s over %v and %v",
			PackedWidth, PackedWidth, x, w, lhsContracting, rhsContracting)
	}
	in, out := w.Dim(1), w.Dim(0)*PackedWidth
	if rhs, err = f.Reshape(rhs, in, out); err != nil {
		return nil, err
	}
	results, err := customCall(f.Function.(*xla.Function), "__onednn$matmul",
		`{"onednn_matmul_config":{"optimization_config":{"weights_prepacked":true}}}`,
		nil, []shapes.Shape{shapes.Make(dtypes.Float32, x.Dim(0), out)}, nil, lhs, rhs)
	if err != nil {
		return nil, err
	}
	return f.Reshape(results[0], x.Dim(0), w.Dim(0), PackedWidth)
}

// customCall is go-xla's own; it has no exported way to call a function of the plugin.
//
//go:linkname customCall github.com/gomlx/go-xla/compute/xla.(*Function).customCall
func customCall(f *xla.Function, target, config string, operandLayouts [][]int, outputs []shapes.Shape, outputLayouts [][]int,
	operands ...compute.Value) ([]compute.Value, error)
