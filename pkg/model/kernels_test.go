package model

import (
	"fmt"
	"slices"
	"testing"

	"descant/pkg/device"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

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
	if has := device.CPUFacts().Has("avx2"); device.PacksProducts(backend) != has {
		t.Fatalf("packed products: %v, on a processor with AVX2: %v", !has, has)
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
