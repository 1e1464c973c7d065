package model

import (
	"fmt"
	"math"

	"descant/pkg/device"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// packedAtLeast is the number of outputs from which oneDNN has one layout for all numbers of rows; k_proj and v_proj often
// have fewer.
const packedAtLeast = 512

// Packs tells whether [Product] can take packed matrices.
func (c *Compiler) Packs() bool { return device.PacksProducts(c.backend) }

// Pack brings a matrix [out, in] of bf16 or [Halves] into the packed form [out/64, in, 64] of [device.PacksProducts].
func Pack(w *Node) *Node {
	const width = device.PackedWidth
	out, in := w.Shape().Dim(0), w.Shape().Dim(1)
	pairs := Reshape(w, out/width, width, in/2, 2)
	return Reshape(TransposeAllAxes(pairs, 0, 2, 1, 3), out/width, in, width)
}

// Unpack is the matrix [out, in] of which a packed one was made.
func Unpack(packed *Node) *Node {
	blocks, in, width := packed.Shape().Dim(0), packed.Shape().Dim(1), packed.Shape().Dim(2)
	pairs := Reshape(packed, blocks, in/2, width, 2)
	return Reshape(TransposeAllAxes(pairs, 0, 2, 1, 3), blocks*width, in)
}

// packedProduct is [Product] with a packed matrix.
func packedProduct(x, weight *Node) *Node {
	y := Dot(ConvertDType(x, dtypes.BFloat16), weight).WithOutputDType(dtypes.Float32).General([]int{1}, nil, []int{1}, nil)
	return StopGradient(Reshape(y, x.Shape().Dim(0), weight.Shape().Dim(0)*weight.Shape().Dim(2)))
}

// Packable tells which of some matrices [out, in] bf16 may be packed: those with which packed products of every number of
// rows give what plain ones give. That is measured here, on the matrices themselves.
func Packable(c *Compiler, rows []int, matrices []*Array) ([]bool, error) {
	fit := make([]bool, len(matrices))
	var list []int // indices of those that may fit
	for i, w := range matrices {
		s := w.Shape()
		if s.Rank() == 2 && s.DType == dtypes.BFloat16 && s.Dim(0) >= packedAtLeast && s.Dim(0)%device.PackedWidth == 0 && s.Dim(1)%2 == 0 {
			fit[i] = true
			list = append(list, i)
		}
	}
	for _, n := range rows {
		for _, i := range list {
			same, err := packsExactly(c, n, matrices[i])
			if err != nil {
				return nil, err
			}
			fit[i] = fit[i] && same
		}
	}
	return fit, nil
}

// packsExactly compares both products of one number of rows.
func packsExactly(c *Compiler, rows int, w *Array) (bool, error) {
	in := w.Shape().Dim(1)
	program, err := c.Compile(fmt.Sprintf("both products of %d rows with %s", rows, w.Shape()),
		[]shapes.Shape{shapes.Make(dtypes.Float32, rows, in), w.Shape()}, func(_ *Graph, n []*Node) []*Node {
			plain := Product(n[0], n[1])
			packed := Product(n[0], Pack(n[1]))
			return []*Node{ReduceAllMax(Abs(Sub(packed, plain))), ReduceAllMax(Abs(plain))}
		})
	if err != nil {
		return false, err
	}
	defer program.Close()
	x, err := Fill(c.backend, func(values []float32) error {
		for i := range values {
			values[i] = float32(i*7919%251-125) / 64
		}
		return nil
	}, rows, in)
	if err != nil {
		return false, err
	}
	defer x.Free()
	results, err := program.Run(x, w)
	if err != nil {
		return false, err
	}
	defer FreeAll(results...)
	var values [2]float64 // largest difference, largest result
	for i, r := range results {
		v, err := Download[float32](r)
		if err != nil {
			return false, err
		}
		values[i] = float64(v[0])
	}
	// Both add up exact products in f32, in another order.
	return values[0] <= 1e-3*values[1] && values[1] > 0 && !math.IsInf(values[1], 0), nil
}
