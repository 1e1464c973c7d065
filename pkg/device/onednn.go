package device

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/go-xla/compute/xla"
)

// PackedWidth is the number of outputs that lie together in a packed matrix.
const PackedWidth = 64

// From leastWork multiplications on oneDNN's product is worth its call: below, XLA's own, which needs none and can be fused with
// what is around it, is as fast or faster. So it is for the product with a vector, and fewer than leastDepth multiplications for each
// element of the result count for less.
const (
	leastWork  = 1 << 20
	leastDepth = 32
)

// WithOneDNN returns a backend that shares everything with b and computes the products of matrices in oneDNN, on XLA's CPU client:
// those of f32 matrices, or of bf16 ones with a result in f32, and batches of such, over one axis each. XLA's own products take
// up to twice as long. Both add up in f32, in another order. ok is false, and the backend is b itself, where there is no such client, or
// the processor has no avx512_bf16: for others oneDNN multiplies batches in threads that start threads, for which XLA's pool stands still.
func WithOneDNN(b compute.Backend) (backend compute.Backend, ok bool) {
	cpu, isXLA := b.(*xla.Backend)
	if !isXLA || !cpu.IsCPU() || !CPUFacts().Has("avx512_bf16") {
		return b, false
	}
	return extended{Backend: b, oneDNN: true}, true
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

// DotGeneral is the product of [WithOneDNN] or [PacksProducts], or that of the backend.
func (f extendedFunction) DotGeneral(lhs compute.Value, lhsContracting, lhsBatch []int, rhs compute.Value, rhsContracting, rhsBatch []int,
	config compute.DotGeneralConfig) (compute.Value, error) {
	if !f.builder.with.oneDNN && !f.builder.with.packs && !f.builder.with.linear {
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
		values, err := foreignCall(f.Function, name, []shapes.Shape{result}, lhs, rhs)
		if err != nil {
			return nil, err
		}
		return values[0], nil
	}
	m, ok := matmulOf(x, lhsContracting, lhsBatch, w, rhsContracting, rhsBatch, config)
	if !ok || !f.builder.with.oneDNN {
		return f.Function.DotGeneral(lhs, lhsContracting, lhsBatch, rhs, rhsContracting, rhsBatch, config)
	}
	return f.matmul(fmt.Sprintf(`{"transpose_a":%t,"transpose_b":%t}`, m.transposeA, m.transposeB), m.result, lhs, rhs)
}

// packed multiplies x [rows, in] with a packed matrix of shape w.
func (f extendedFunction) packed(x, matrix compute.Value, rows int, w shapes.Shape) (compute.Value, error) {
	in, out := w.Dim(1), w.Dim(0)*PackedWidth
	var y compute.Value
	if result := shapes.Make(dtypes.Float32, rows, out); !f.builder.with.packs {
		plain, err := f.Reshape(matrix, in, out)
		if err != nil {
			return nil, err
		}
		if y, err = f.matmul(`{"optimization_config":{"weights_prepacked":true}}`, result, x, plain); err != nil {
			return nil, err
		}
	} else {
		values, err := foreignCall(f.Function, packedKernel, []shapes.Shape{result}, x, matrix)
		if err != nil {
			return nil, err
		}
		y = values[0]
	}
	return f.Reshape(y, rows, w.Dim(0), PackedWidth)
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

// matmul calls oneDNN's.
func (f extendedFunction) matmul(config string, result shapes.Shape, x, w compute.Value) (compute.Value, error) {
	results, err := customCall(f.Function.(*xla.Function), "__onednn$matmul", `{"onednn_matmul_config":`+config+`}`,
		nil, []shapes.Shape{result}, nil, x, w)
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

// matmul is what oneDNN must be told of a product [batch…, m, k]·[batch…, k, n], either of which may be transposed.
type matmul struct {
	transposeA, transposeB bool
	result                 shapes.Shape
}

// matmulOf tells whether oneDNN can and should compute a product.
func matmulOf(x shapes.Shape, xContracting, xBatch []int, w shapes.Shape, wContracting, wBatch []int, config compute.DotGeneralConfig) (m matmul, ok bool) {
	batch, rank := len(xBatch), x.Rank()
	if x.DType != w.DType || w.Rank() != rank || rank != batch+2 || len(xContracting) != 1 || len(wContracting) != 1 {
		return m, false
	}
	f32 := x.DType == dtypes.Float32 && (config.OutputDType == dtypes.Float32 || config.OutputDType == dtypes.InvalidDType)
	if !f32 && (x.DType != dtypes.BFloat16 || config.OutputDType != dtypes.Float32) {
		return m, false
	}
	dims := make([]int, batch, rank)
	for i := range batch {
		if xBatch[i] != i || wBatch[i] != i {
			return m, false
		}
		dims[i] = x.Dim(i)
	}
	m.transposeA, m.transposeB = xContracting[0] == batch, wContracting[0] == batch+1
	rows, columns := x.Dim(2*batch+1-xContracting[0]), w.Dim(2*batch+1-wContracting[0])
	dims = append(dims, rows, columns)
	m.result = shapes.Make(dtypes.Float32, dims...)
	depth := x.Dim(xContracting[0])
	if depth < leastDepth {
		depth = 1
	}
	return m, rows > 1 && columns > 1 && m.result.Size()*depth >= leastWork
}
