package model

import (
	"fmt"
	"slices"
	"testing"

	"descant/pkg/device"
	"descant/pkg/device/devicetest"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// multiplies tells whether kernels compute products of bf16 on this processor.
func multiplies() bool { return device.CPUFacts().Has("avx2") && !device.CPUFacts().Has("amx_bf16") }

// kernelTest compares products by the kernels of [device.WithKernels] with XLA's own.
type kernelTest struct {
	backend       compute.Backend // with kernels
	kernel, plain *Compiler
}

func newKernelTest(t testing.TB) kernelTest {
	t.Helper()
	dev := devicetest.Open(t, device.XLA)
	backend, ok := device.WithKernels(dev.Backend())
	if !ok {
		t.Fatal("the plugin that is installed here takes no kernels")
	}
	return kernelTest{backend, NewCompiler(backend), NewCompiler(dev.Backend())}
}

// products gives what a matrix and rows have for a product by the kernel and by XLA. The kernel's must be, bit for bit, the first of those of most
// rows, which are set if there are none yet.
func (k kernelTest) products(t *testing.T, matrix shapes.Shape, rows, in, out int, kernel, plain func(x, w *Node) *Node, most *[]float32) (got, want []float32) {
	t.Helper()
	list := []shapes.Shape{matrix, shapes.Make(dtypes.Float32, rows, in)}
	arrays := normals(t, k.backend, list)
	of := func(c *Compiler, product func(x, w *Node) *Node) []float32 {
		return computed(t, c, list, func(_ *Graph, n []*Node) []*Node { return []*Node{product(n[1], n[0])} }, arrays)[0]
	}
	got, want = of(k.kernel, kernel), of(k.plain, plain)
	if len(got) != rows*out || len(want) != len(got) {
		t.Fatalf("%d and %d results, not %d", len(got), len(want), rows*out)
	}
	if *most == nil {
		*most = got
	}
	if !slices.Equal(got, (*most)[:len(got)]) {
		t.Error("rows differ from the same ones among others")
	}
	return got, want
}

// TestPackedKernel compares packed products by the kernel with plain ones, for numbers of rows that fill its tiles and
// that do not, once and several times, and each row of them with itself among the most rows: these must be equal bit for bit.
func TestPackedKernel(t *testing.T) {
	t.Parallel()
	k := newKernelTest(t)
	if has := multiplies(); device.PacksProducts(k.backend) != has {
		t.Fatalf("packed products: %v, on a processor that has them: %v", !has, has)
	} else if !has {
		return
	}
	bf16 := func(w *Node) *Node { return ConvertDType(w, dtypes.BFloat16) }
	comparePacked(t, k, func(x, w *Node) *Node { return Product(x, Pack(bf16(w))) }, func(x, w *Node) *Node { return Product(x, bf16(w)) }, fillTiles, 1e-4)
}

// TestHalvesKernel is TestPackedKernel for rows in f32 and matrices in halves. What others than the kernel compute is of the same values, too.
func TestHalvesKernel(t *testing.T) {
	t.Parallel()
	k := newKernelTest(t)
	if has := device.CPUFacts().Has("avx2"); device.HasHalves(k.backend) != has {
		t.Fatalf("products with halves: %v, on a processor that has them: %v", !has, has)
	} else if !has {
		return
	}
	halves := func(w *Node) *Node { return Bitcast(ConvertDType(w, dtypes.BFloat16), Halves) }
	product := func(x, w *Node) *Node { return Product(x, Pack(halves(w))) }
	const limit = 3e-4 // of sums of 900 products of numbers about 1, up to 100
	comparePacked(t, k, product, func(x, w *Node) *Node { return Contract(dtypes.Float32, x, 1, Through(dtypes.BFloat16, w), 1) }, fillTiles, limit)
	comparePacked(t, k, product, product, []int{13, 1}, limit)
	for axis, plain := range []func(x, w *Node) *Node{PullProduct, Product} { // by the axis that is contracted
		for _, matrix := range [][2]int{{576, 4864}, {4864, 576}, {64, 128}} {
			compareLinear(t, k, matrix, axis, []int{257, 71, 10, 1}, func(x, w *Node) *Node { return plain(x, halves(w)) },
				func(x, w *Node) *Node { return Contract(dtypes.Float32, x, 1, Through(dtypes.BFloat16, w), axis) })
		}
	}
}

// TestSumOfProductsKernel is TestHalvesKernel for products with plain matrices and what adapters of several ranks add to them, and for the sum that is pulled back
// from two matrices.
func TestSumOfProductsKernel(t *testing.T) {
	t.Parallel()
	k := newKernelTest(t)
	if !device.HasHalves(k.backend) {
		return // TestHalvesKernel says where they are
	}
	halves := func(w *Node) *Node { return Bitcast(ConvertDType(w, dtypes.BFloat16), Halves) }
	exact := func(x, w *Node, axis int) *Node {
		return Contract(dtypes.Float32, x, 1, Through(dtypes.BFloat16, w), axis)
	}
	columns := func(x *Node, from, n int) *Node { return SliceAxis(x, 1, AxisRange(from, from+n)) }
	for _, rank := range []int{1, 8, 200} {
		compareLinear(t, k, [2]int{576, 902}, 1, []int{257, 71, 10, 1}, func(x, w *Node) *Node { return AdaptedProduct(x, halves(w), columns(x, 5, rank), columns(w, 7, rank)) },
			func(x, w *Node) *Node {
				return Add(exact(x, w, 1), Contract(dtypes.Float32, columns(x, 5, rank), 1, columns(w, 7, rank), 1))
			})
		other := func(x *Node) *Node { return Reverse(x, 1) }
		a := func(w *Node) *Node { return SliceAxis(w, 0, AxisRange(7, 7+rank)) }
		compareLinear(t, k, [2]int{902, 576}, 0, []int{257, 71, 10, 1},
			func(x, w *Node) *Node {
				return PullProducts([]*Node{x, other(x)}, []*Node{halves(w), halves(other(w))}, columns(x, 5, rank), a(w))
			},
			func(x, w *Node) *Node {
				return Add(Add(exact(x, w, 0), exact(other(x), other(w), 0)), Contract(dtypes.Float32, columns(x, 5, rank), 1, a(w), 0))
			})
	}
}

// fillTiles are numbers of rows that fill the tiles of the kernel and that do not.
var fillTiles = []int{300, 257, 129, 128, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}

// comparePacked compares a product by the kernel with another one without it, for numbers of rows of which the first is the largest.
func comparePacked(t *testing.T, k kernelTest, packed, plain func(x, w *Node) *Node, numbers []int, limit float32) {
	t.Helper()
	for _, matrix := range [][2]int{{64, 2}, {128, 126}, {192, 128}, {64, 900}} {
		out, in := matrix[0], matrix[1]
		var most []float32
		for _, rows := range numbers {
			t.Run(fmt.Sprintf("%dx%d/%d", out, in, rows), func(t *testing.T) {
				got, want := k.products(t, shapes.Make(dtypes.Float32, out, in), rows, in, out, packed, plain, &most)
				for i, v := range want {
					if !(abs(v-got[i]) <= limit) {
						t.Fatalf("result %d is %g, not %g", i, got[i], v)
					}
				}
			})
		}
	}
}

// TestLinearKernel compares products with plain matrices by the kernel with XLA's own, over both axes, for numbers of rows and inputs
// that fill its tiles and that do not, and each row of them with itself among the most rows: these must be equal bit for bit.
func TestLinearKernel(t *testing.T) {
	t.Parallel()
	k := newKernelTest(t)
	if !multiplies() {
		return // these products are left to others
	}
	// Of bf16 pairs at once XLA's own product has the same sums.
	pairs := device.CPUFacts().FastBF16()
	for _, matrix := range [][2]int{{576, 4864}, {4864, 576}, {3200, 34}, {34, 3200}, {448, 898}, {898, 448}} {
		for axis := range 2 { // which is contracted
			if matrix[1-axis]%device.PackedWidth != 0 {
				continue // it is for the other axis
			}
			product := func(x, w *Node) *Node { return Contract(dtypes.BFloat16, x, 1, w, axis) }
			differing := compareLinear(t, k, matrix, axis, []int{600, 257, 256, 128, 71, 36, 13, 12, 11, 10}, product, product)
			if !pairs && !differing {
				t.Errorf("%v over %d: all sums are those of XLA's own product: is the kernel in use?", matrix, axis)
			}
		}
	}
}

// compareLinear compares a product over an axis of a matrix by the kernel with one without it, for numbers of rows of which the first is the
// largest. It tells whether any sum differs.
func compareLinear(t *testing.T, k kernelTest, matrix [2]int, axis int, numbers []int, product, plain func(x, w *Node) *Node) (differing bool) {
	t.Helper()
	in, out := matrix[axis], matrix[1-axis]
	var most []float32
	for _, rows := range numbers {
		t.Run(fmt.Sprintf("%dx%d/%d/%d", matrix[0], matrix[1], axis, rows), func(t *testing.T) {
			got, want := k.products(t, shapes.Make(dtypes.Float32, matrix[0], matrix[1]), rows, in, out, product, plain, &most)
			top := slices.Max(want)
			for i, v := range want {
				if !(abs(v-got[i]) <= 5e-6*top) {
					t.Fatalf("result %d is %g, not %g", i, got[i], v)
				}
				differing = differing || v != got[i]
			}
		})
	}
	return differing
}
