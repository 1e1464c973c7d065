package device

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/go-xla/compute/xla"
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
