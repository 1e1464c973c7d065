package model

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"descant/pkg/device"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// multiplies tells whether kernels compute products of bf16 on this processor.
func multiplies() bool { return device.CPUFacts().Has("avx2") && !device.CPUFacts().Has("amx_bf16") }

// TestPackedKernel compares packed products by the kernel of [device.WithKernels] with plain ones, for numbers of rows that fill its tiles and
// that do not, once and several times, and each row of them with itself among the most rows: these must be equal bit for bit.
func TestPackedKernel(t *testing.T) {
	t.Parallel()
	dev, err := device.Open(device.XLA)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	backend, ok := device.WithKernels(dev.Backend())
	if !ok {
		t.Fatal("the plugin that is installed here takes no kernels")
	}
	if has := multiplies(); device.PacksProducts(backend) != has {
		t.Fatalf("packed products: %v, on a processor that has them: %v", !has, has)
	} else if !has {
		return
	}
	kernel, plain := NewCompiler(backend), NewCompiler(dev.Backend())
	for _, matrix := range [][2]int{{64, 2}, {128, 126}, {192, 128}, {64, 900}} {
		out, in := matrix[0], matrix[1]
		var most []float32
		for _, rows := range []int{300, 257, 129, 128, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1} {
			t.Run(fmt.Sprintf("%dx%d/%d", out, in, rows), func(t *testing.T) {
				list := []shapes.Shape{shapes.Make(dtypes.Float32, out, in), shapes.Make(dtypes.Float32, rows, in)}
				arrays := normals(t, dev.Backend(), list)
				product := func(pack bool) func(*Graph, []*Node) []*Node {
					return func(_ *Graph, n []*Node) []*Node {
						w := ConvertDType(n[0], dtypes.BFloat16)
						if pack {
							w = Pack(w)
						}
						return []*Node{Product(n[1], w)}
					}
				}
				got, want := computed(t, kernel, list, product(true), arrays)[0], computed(t, plain, list, product(false), arrays)[0]
				if len(got) != rows*out || len(want) != len(got) {
					t.Fatalf("%d and %d results, not %d", len(got), len(want), rows*out)
				}
				for i, v := range want {
					if !(abs(v-got[i]) <= 1e-4) {
						t.Fatalf("result %d is %g, not %g", i, got[i], v)
					}
				}
				if most == nil {
					most = got
				}
				if !slices.Equal(got, most[:len(got)]) {
					t.Error("rows differ from the same ones among others")
				}
			})
		}
	}
}

// TestLinearKernel compares products with plain matrices by the kernel of [device.WithKernels] with XLA's own, over both axes, for numbers of rows and inputs
// that fill its tiles and that do not, and each row of them with itself among the most rows: these must be equal bit for bit.
func TestLinearKernel(t *testing.T) {
	t.Parallel()
	dev, err := device.Open(device.XLA)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	backend, ok := device.WithKernels(dev.Backend())
	if !ok {
		t.Fatal("the plugin that is installed here takes no kernels")
	}
	kernel, plain := NewCompiler(backend), NewCompiler(dev.Backend())
	for _, matrix := range [][2]int{{576, 4864}, {4864, 576}, {3200, 34}, {34, 3200}, {448, 898}, {898, 448}} {
		for axis := range 2 { // which is contracted
			var most []float32
			differing := false
			for _, rows := range []int{600, 257, 256, 128, 71, 36, 13, 12, 11, 10} {
				if out := matrix[1-axis]; out%device.PackedWidth != 0 {
					continue // it is for the other axis
				}
				t.Run(fmt.Sprintf("%dx%d/%d/%d", matrix[0], matrix[1], axis, rows), func(t *testing.T) {
					list := []shapes.Shape{shapes.Make(dtypes.Float32, matrix[0], matrix[1]), shapes.Make(dtypes.Float32, rows, matrix[axis])}
					arrays := normals(t, dev.Backend(), list)
					product := func(_ *Graph, n []*Node) []*Node { return []*Node{Contract(dtypes.BFloat16, n[1], 1, n[0], axis)} }
					got, want := computed(t, kernel, list, product, arrays)[0], computed(t, plain, list, product, arrays)[0]
					if len(got) != rows*matrix[1-axis] || len(want) != len(got) {
						t.Fatalf("%d and %d results, not %d", len(got), len(want), rows*matrix[1-axis])
					}
					top := slices.Max(want)
					for i, v := range want {
						if !(abs(v-got[i]) <= 5e-6*top) {
							t.Fatalf("result %d is %g, not %g", i, got[i], v)
						}
						differing = differing || v != got[i]
					}
					if most == nil {
						most = got
					}
					if !slices.Equal(got, most[:len(got)]) {
						t.Error("rows differ from the same ones among others")
					}
				})
			}
			// Of bf16 pairs at once XLA's own product has the same sums.
			pairs := device.CPUFacts().Has("avx512_bf16") && strings.Contains(device.CPUFacts().Model, "AMD")
			if most != nil && multiplies() && !pairs && !differing {
				t.Errorf("%v over %d: all sums are those of XLA's own product: is the kernel in use?", matrix, axis)
			}
		}
	}
}
