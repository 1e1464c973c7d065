package model

import (
	"fmt"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// BenchmarkProduct multiplies rows in f32 with halves, by the kernels where the processor has them. The matrix has the shape of Qwen2.5-0.5B's
// gate and up: packed, plain, and plain over its other axis.
func BenchmarkProduct(b *testing.B) {
	const in, out = 896, 9728
	k := newKernelTest(b)
	halves := func(w *Node) *Node { return Bitcast(ConvertDType(w, dtypes.BFloat16), Halves) }
	for _, form := range []struct {
		name    string
		in      int
		make    func(w *Node) *Node
		product func(x, w *Node) *Node
	}{
		{"packed", in, func(w *Node) *Node { return Pack(halves(w)) }, Product},
		{"plain", in, halves, Product},
		{"pull", out, halves, PullProduct},
	} {
		plain := shapes.Make(dtypes.Float32, out, in)
		matrix := run(b, k.kernel, []shapes.Shape{plain}, func(w []*Node) *Node { return form.make(w[0]) })(normals(b, k.backend, []shapes.Shape{plain})...)
		for _, rows := range []int{1, 8, 32, 128, 512} {
			b.Run(fmt.Sprintf("%s/%d", form.name, rows), func(b *testing.B) {
				x := shapes.Make(dtypes.Float32, rows, form.in)
				multiply := run(b, k.kernel, []shapes.Shape{x, matrix.Shape()}, func(n []*Node) *Node { return form.product(n[0], n[1]) })
				values := normals(b, k.backend, []shapes.Shape{x})[0]
				for b.Loop() {
					multiply(values, matrix).Free()
				}
				b.ReportMetric(2*float64(rows)*in*out*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
		matrix.Free()
	}
}

// run compiles a program with one result, until the benchmark ends.
func run(b *testing.B, c *Compiler, in []shapes.Shape, build func(n []*Node) *Node) func(...*Array) *Array {
	b.Helper()
	program, err := c.Compile("product", in, func(_ *Graph, n []*Node) []*Node { return []*Node{build(n)} })
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(program.Close)
	return func(arrays ...*Array) *Array {
		results, err := program.Run(arrays...)
		if err != nil {
			b.Fatal(err)
		}
		return results[0]
	}
}
