package device

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// PackedWidth is the number of outputs that lie together in a packed matrix.
const PackedWidth = 64

// From leastWork multiplications on a product of oneDNN's or of a kernel is worth its call: below, XLA's own, which needs none and can be fused with
// what is around it, is as fast or faster. So it is for the product with a vector, and fewer than leastDepth multiplications for each
// element of the result count for less.
const (
	leastWork  = 1 << 20
	leastDepth = 32
)

// Fastest returns a backend that shares everything with b and has [WithOneDNN] and [WithKernels], as far as there are such here.
func Fastest(b compute.Backend) compute.Backend {
	b, _ = WithOneDNN(b)
	b, _ = WithKernels(b)
	return b
}

// PacksProducts tells whether a backend knows one product more: x [rows, in] bf16 with a packed matrix [out/64, in, 64] bf16, contracted
// over in, with a result [rows, out/64, 64] in f32. A packed matrix has the layout of oneDNN's own: blocks of 64 outputs, in each
// of them pairs of inputs, of these 64 outputs, of each of these both inputs. oneDNN's other products pack their matrix anew in every
// execution, which for a few rows takes three times as long as the product. It is one of [WithOneDNN] or of [WithKernels].
//
// oneDNN does not promise that layout: whoever uses it compares results first, for every number of rows.
func PacksProducts(b compute.Backend) bool {
	e, ok := b.(extended)
	return ok && (e.oneDNN || e.packs)
}

// DotGeneral is the product of a kernel or of oneDNN, or that of the backend.
func (f extendedFunction) DotGeneral(lhs compute.Value, lhsContracting, lhsBatch []int, rhs compute.Value, rhsContracting, rhsBatch []int,
	config compute.DotGeneralConfig) (compute.Value, error) {
	if !f.builder.with.oneDNN && !f.builder.with.packs {
		return f.Function.DotGeneral(lhs, lhsContracting, lhsBatch, rhs, rhsContracting, rhsBatch, config)
	}
	x, err := f.builder.OpShape(lhs)
	if err != nil {
		return nil, err
	}
	w, err := f.builder.OpShape(rhs)
	if err != nil {
		return nil, err
	}
	if w.Rank() == 3 && w.DType == dtypes.BFloat16 && x.DType == dtypes.BFloat16 && len(rhsBatch) == 0 {
		if x.Rank() != 2 || w.Dim(2) != PackedWidth || x.Dim(1) != w.Dim(1) || config.OutputDType != dtypes.Float32 ||
			len(lhsContracting) != 1 || lhsContracting[0] != 1 || len(rhsContracting) != 1 || rhsContracting[0] != 1 {
			return nil, fmt.Errorf("a packed product takes [rows, in] and [out/%d, in, %d], and gives f32: not %s and %s over %v and %v",
				PackedWidth, PackedWidth, x, w, lhsContracting, rhsContracting)
		}
		return f.packed(lhs, rhs, x.Dim(0), w)
	}
	if result, name := linearOf(x, lhsContracting, w, rhsContracting, len(rhsBatch), config); name != "" && f.builder.with.linear {
		return f.kernel(name, result, lhs, rhs)
	}
	m, ok := matmulOf(x, lhsContracting, lhsBatch, w, rhsContracting, rhsBatch, config)
	if !ok || !f.builder.with.oneDNN {
		return f.Function.DotGeneral(lhs, lhsContracting, lhsBatch, rhs, rhsContracting, rhsBatch, config)
	}
	return f.matmul(fmt.Sprintf(`{"transpose_a":%t,"transpose_b":%t}`, m.transposeA, m.transposeB), m.result, lhs, rhs)
}

// packed multiplies x [rows, in] with a packed matrix of shape w.
func (f extendedFunction) packed(x, matrix compute.Value, rows int, w shapes.Shape) (y compute.Value, err error) {
	in, out := w.Dim(1), w.Dim(0)*PackedWidth
	result := shapes.Make(dtypes.Float32, rows, out)
	if f.builder.with.packs {
		y, err = f.kernel(packedKernel, result, x, matrix)
	} else if matrix, err = f.Reshape(matrix, in, out); err == nil {
		y, err = f.matmul(`{"optimization_config":{"weights_prepacked":true}}`, result, x, matrix)
	}
	if err != nil {
		return nil, err
	}
	return f.Reshape(y, rows, w.Dim(0), PackedWidth)
}

// kernel calls a kernel that has one result.
func (f extendedFunction) kernel(name string, result shapes.Shape, inputs ...compute.Value) (compute.Value, error) {
	results, err := foreignCall(f.Function, name, []shapes.Shape{result}, inputs...)
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

// linearOf tells which kernel computes a product, if one can and should, and the shape of its result.
func linearOf(x shapes.Shape, xContracting []int, w shapes.Shape, wContracting []int, batch int, config compute.DotGeneralConfig) (result shapes.Shape, name string) {
	if x.Rank() != 2 || w.Rank() != 2 || x.DType != dtypes.BFloat16 || w.DType != dtypes.BFloat16 || config.OutputDType != dtypes.Float32 ||
		batch != 0 || len(xContracting) != 1 || xContracting[0] != 1 || len(wContracting) != 1 {
		return result, ""
	}
	rows, depth, out := x.Dim(0), x.Dim(1), w.Dim(1-wContracting[0])
	if rows == 1 || depth%2 != 0 || depth < leastDepth || out%PackedWidth != 0 || rows*depth*out < leastWork {
		return result, ""
	}
	name = pullKernel
	if wContracting[0] == 1 {
		name = linearKernel
	}
	return shapes.Make(dtypes.Float32, rows, out), name
}
