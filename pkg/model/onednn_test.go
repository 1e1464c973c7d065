package model

import (
	"testing"

	"descant/pkg/device"
	"descant/pkg/device/devicetest"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// TestOneDNNProducts compares the products of [device.WithOneDNN] with XLA's own, for every side that can be transposed, for
// batches and both dtypes.
func TestOneDNNProducts(t *testing.T) {
	t.Parallel()
	dev := devicetest.Open(t, device.XLA)
	backend, ok := device.WithOneDNN(dev.Backend())
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
				return []*Node{Contract(dtype, n[0], p.xAxis, n[1], p.yAxis)}
			}
			arrays := normals(t, dev.Backend(), in)
			want := computed(t, NewCompiler(dev.Backend()), in, build, arrays)[0]
			got := computed(t, NewCompiler(backend), in, build, arrays)[0]
			top, off := float32(0), float32(0)
			for k, v := range want {
				top, off = max(top, abs(v)), max(off, abs(v-got[k]))
			}
			if top == 0 || len(want) != len(got) || !(off <= 1e-5*top) {
				t.Errorf("%v·%v over %d and %d, %s: off by %g of %g", p.x, p.y, p.xAxis, p.yAxis, dtype, off, top)
			}
			if off > 0 {
				differing++
			}
		}
	}
	if ok && differing == 0 {
		t.Error("no product adds up in another order than XLA's own: is oneDNN in use?")
	}
}

func abs(v float32) float32 { return max(v, -v) }
