package model

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"descant/pkg/device"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// TestOneDNNProducts compares the products of [device.WithOneDNN] with XLA's own, for every side that can be transposed, for
// batches, both dtypes and both results.
func TestOneDNNProducts(t *testing.T) {
	t.Parallel()
	dev, err := device.Open(device.XLA)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	backend, ok := device.WithOneDNN(dev.Backend())
	if !ok {
		return // no avx512_bf16: there are no other products to compare
	}
	type product struct {
		x, y         []int
		xAxis, yAxis int
	}
	var differing int
	for _, p := range []product{
		{[]int{128, 896}, []int{896, 512}, 1, 0},          // x·W
		{[]int{128, 512}, []int{896, 512}, 1, 1},          // dy·Wᵀ
		{[]int{300, 1500}, []int{8, 1500}, 1, 1},          // x·Aᵀ
		{[]int{300, 8}, []int{1500, 8}, 1, 1},             // low·Bᵀ
		{[]int{300, 8}, []int{300, 1500}, 0, 0},           // lowᵀ·dy
		{[]int{300, 1500}, []int{1500, 8}, 1, 0},          // dy·B
		{[]int{2, 3, 90, 64}, []int{2, 3, 70, 64}, 3, 3},  // q·kᵀ
		{[]int{2, 3, 90, 70}, []int{2, 3, 70, 64}, 3, 2},  // p·v
		{[]int{2, 3, 900, 70}, []int{2, 3, 900, 7}, 2, 2}, // pᵀ·d
		{[]int{3, 5}, []int{5, 7}, 1, 0},                  // too small to be worth a call
	} {
		for _, dtype := range []dtypes.DType{dtypes.Float32, dtypes.BFloat16} {
			in := []shapes.Shape{shapes.Make(dtypes.Float32, p.x...), shapes.Make(dtypes.Float32, p.y...)}
			build := func(_ *Graph, n []*Node) []*Node {
				return []*Node{Contract(dtype, n[0], p.xAxis, n[1], p.yAxis), ContractRounded(dtype, n[0], p.xAxis, n[1], p.yAxis)}
			}
			random := rand.New(rand.NewPCG(1, 2))
			var arrays []*Array
			for _, s := range in {
				a, err := Fill(dev.Backend(), func(values []float32) error {
					for i := range values {
						values[i] = float32(random.NormFloat64())
					}
					return nil
				}, s.Dimensions...)
				if err != nil {
					t.Fatal(err)
				}
				defer a.Free()
				arrays = append(arrays, a)
			}
			want, got := computed(t, NewCompiler(dev.Backend()), in, build, arrays), computed(t, NewCompiler(backend), in, build, arrays)
			for i := range want {
				name, limit := fmt.Sprintf("%v·%v over %d and %d, %s, result %d", p.x, p.y, p.xAxis, p.yAxis, dtype, i), 1e-5
				if i == 1 && dtype == dtypes.BFloat16 {
					limit = 1.0 / (1 << 8) // a step of bf16
				}
				top, off := float32(0), float32(0)
				for k, v := range want[i] {
					top, off = max(top, abs(v)), max(off, abs(v-got[i][k]))
				}
				if top == 0 || len(want[i]) != len(got[i]) || !(off <= float32(limit)*top) {
					t.Errorf("%s: off by %g of %g", name, off, top)
				}
				if off > 0 {
					differing++
				}
			}
		}
	}
	if differing == 0 {
		t.Error("no product adds up in another order than XLA's own: is oneDNN in use?")
	}
}

// computed gives the outputs of a graph, flat.
func computed(t *testing.T, c *Compiler, in []shapes.Shape, build func(*Graph, []*Node) []*Node, arrays []*Array) (all [][]float32) {
	t.Helper()
	program, err := c.Compile("products", in, build)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	results, err := program.Run(arrays...)
	if err != nil {
		t.Fatal(err)
	}
	defer FreeAll(results...)
	for _, r := range results {
		values, err := Download[float32](r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, values)
	}
	return all
}

func abs(v float32) float32 { return max(v, -v) }
