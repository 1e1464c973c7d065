package generate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"descant/pkg/device"
	"descant/pkg/device/devicetest"
	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// heldAdapters are the ways to hold adapters and to multiply with them.
func heldAdapters() map[string]columnShapes {
	return map[string]columnShapes{
		"f32":         {dtype: dtypes.Float32, rounded: dtypes.Float32},
		"bf16 in f32": {dtype: dtypes.BFloat16, rounded: dtypes.Float32},
		"bf16":        {dtype: dtypes.BFloat16, rounded: dtypes.BFloat16},
	}
}

// adaptedRows computes what adapters add to the rows of x [rows, in] in two modules, whose columns a and bs hold, by the kernel or by masks.
func adaptedRows(t *testing.T, dev *device.Device, held columnShapes, kernel bool, x []float32, ranges []int32, a, b, c []float32) ([][]float32, error) {
	t.Helper()
	rows := len(ranges) / 2
	in := len(x) / rows
	columns := len(a) / in / 2
	group := []model.Projection{{Module: "b", In: in, Out: len(b) / columns}, {Module: "c", In: in, Out: len(c) / columns}}
	held.columns, held.groups = columns, [][]model.Projection{group}
	arrays := []*model.Array{
		uploaded(t, dev, x, rows, in), uploaded(t, dev, ranges, rows, 2), uploaded(t, dev, a, 2*columns, in),
		uploaded(t, dev, b, columns, group[0].Out), uploaded(t, dev, c, columns, group[1].Out),
	}
	return computed(t, dev, kernel, arrays, func(n []*Node) []*Node {
		l := &layerGraph{
			layerPlan: layerPlan{kernels: kernel, adapters: held},
			shape:     layerShape{stepShape: stepShape{batchShape: batchShape{rows, 1}, mode: manyAdapters}},
			in:        map[string]*Node{"b.A": ConvertDType(n[2], held.dtype), "b.B": ConvertDType(n[3], held.dtype), "c.B": ConvertDType(n[4], held.dtype)},
			ranges:    n[1],
		}
		return l.adapted(0, n[0])
	})
}

// TestKernelGivesWhatMasksGive compares the kernel of [device.WithKernels] with the products that its function has for a body: for adapters
// of several ranks, rows without one, and sizes that fill no vector; and each row with the same one alone.
func TestKernelGivesWhatMasksGive(t *testing.T) {
	t.Parallel()
	dev := devicetest.Open(t, device.XLA)
	for name, held := range heldAdapters() {
		for _, size := range [][3]int{{37, 45, 3}, {64, 128, 32}, {1, 1, 1}, {300, 17, 96}} {
			t.Run(fmt.Sprint(name, size), func(t *testing.T) {
				const columns = 23
				in := size[0]
				random := rand.New(rand.NewPCG(1, 2))
				numbers := func(n int) []float32 {
					list := make([]float32, n)
					for i := range list {
						list[i] = float32(random.NormFloat64())
					}
					return list
				}
				// Six rows have the same columns, more than go through their matrices together.
				ranges := []int32{0, 8, 8, 8, 8, 9, 9, 14, 0, 8, 14, 23, 0, 0, 9, 14, 23, 23, 0, 8, 0, 8, 0, 8, 0, 8, 0, 9}
				rows := len(ranges) / 2
				x, a, b, c := numbers(rows*in), numbers(2*columns*in), numbers(columns*size[1]), numbers(columns*size[2])
				got, err := adaptedRows(t, dev, held, true, x, ranges, a, b, c)
				if err != nil {
					t.Fatal(err)
				}
				want, err := adaptedRows(t, dev, held, false, x, ranges, a, b, c)
				if err != nil {
					t.Fatal(err)
				}
				limit := 1e-4
				if held.rounded == dtypes.BFloat16 {
					limit = 0.02 // of the largest: x·A is rounded, and a sum in another order may round to the next value
				}
				for i := range want {
					top := 0.0
					for _, v := range want[i] {
						top = max(top, math.Abs(float64(v)))
					}
					if len(got[i]) != len(want[i]) || top == 0 {
						t.Fatalf("%d results up to %g, not %d", len(want[i]), top, len(got[i]))
					}
					for k, v := range want[i] {
						if !(math.Abs(float64(v-got[i][k])) <= limit*top) {
							t.Fatalf("module %d, result %d is %g, not %g", i, k, got[i][k], v)
						}
					}
				}
				for row := range rows {
					alone, err := adaptedRows(t, dev, held, true, x[row*in:(row+1)*in], ranges[2*row:2*row+2], a, b, c)
					if err != nil {
						t.Fatal(err)
					}
					for i := range alone {
						out := len(alone[i])
						if !slices.Equal(alone[i], got[i][row*out:(row+1)*out]) {
							t.Errorf("row %d differs alone", row)
						}
					}
				}
				// What others' columns hold is none of a row's business.
				for i := range in {
					a[i] = float32(math.Inf(1))
				}
				after, err := adaptedRows(t, dev, held, true, x, ranges, a, b, c)
				if err != nil {
					t.Fatal(err)
				}
				if out := size[1]; !slices.Equal(after[0][3*out:4*out], got[0][3*out:4*out]) || slices.Equal(after[0][:out], got[0][:out]) {
					t.Error("an infinite value in the columns of row 0 should change row 0 and not row 3")
				}
			})
		}
	}
}

// TestFusedProducts compares the kernel that multiplies with a packed matrix and with those of the adapters in one call with those that do so one after the
// other: the same bits, for the product and for what each adapter adds.
func TestFusedProducts(t *testing.T) {
	t.Parallel()
	dev := devicetest.Open(t, device.XLA)
	backend := device.Fastest(dev.Backend())
	only, _ := device.WithKernels(dev.Backend()) // not oneDNN, which comes first on some processors
	if has := device.CPUFacts().Has("avx2") && !device.CPUFacts().Has("amx_bf16"); device.FusesAdapters(only, dtypes.BFloat16) != has {
		t.Fatalf("there is a kernel for packed matrices in bf16: %v, but with those of adapters in one call it is not the same", has)
	}
	if has := device.HasHalves(backend); device.FusesAdapters(backend, model.Halves) != has || device.FusesAdapters(backend, dtypes.Float32) {
		t.Fatalf("there is a kernel for halves: %v, but with those of adapters in one call it is not the same, or for f32, too", has)
	}
	for name, held := range heldAdapters() {
		matrix := held.rounded
		if matrix == dtypes.Float32 {
			matrix = model.Halves
		}
		if !device.FusesAdapters(backend, matrix) { // XLA or oneDNN multiplies
			continue
		}
		for _, rows := range []int{1, 9, 140} {
			t.Run(fmt.Sprint(name, rows), func(t *testing.T) {
				fused, apart := fusedRows(t, dev, held, rows, true), fusedRows(t, dev, held, rows, false)
				for i := range apart {
					if !slices.ContainsFunc(apart[i], func(v float32) bool { return v != 0 }) {
						t.Fatalf("result %d is all zeros", i)
					}
					if !slices.Equal(fused[i], apart[i]) {
						t.Errorf("result %d differs", i)
					}
				}
			})
		}
	}
}

// fusedRows computes the product of rows with a matrix of two modules, and what adapters add to it in each.
func fusedRows(t *testing.T, dev *device.Device, held columnShapes, rows int, fuses bool) [][]float32 {
	t.Helper()
	const in, columns = 96, 23
	group := []model.Projection{{Module: "b", In: in, Out: 192}, {Module: "c", In: in, Out: 64}}
	held.columns, held.groups = columns, [][]model.Projection{group}
	random := rand.New(rand.NewPCG(3, 4))
	numbers := func(dims ...int) *model.Array {
		list := make([]float32, dims[0]*dims[1])
		for i := range list {
			list[i] = float32(random.NormFloat64())
		}
		return uploaded(t, dev, list, dims...)
	}
	var ranges []int32
	for row := range rows {
		ranges = append(ranges, [][]int32{{0, 8}, {8, 9}, {9, 9}, {9, 23}, {0, 8}}[row%5]...)
	}
	arrays := []*model.Array{
		numbers(rows, in), uploaded(t, dev, ranges, rows, 2), numbers(2*columns, in), numbers(columns, 192), numbers(columns, 64), numbers(256, in),
	}
	results, err := computed(t, dev, true, arrays, func(n []*Node) []*Node {
		matrix := ConvertDType(n[5], dtypes.BFloat16)
		if held.rounded == dtypes.Float32 {
			matrix = Bitcast(matrix, model.Halves)
		}
		l := &layerGraph{
			layerPlan: layerPlan{kernels: true, fuses: fuses, adapters: held},
			shape:     layerShape{stepShape: stepShape{batchShape: batchShape{rows, 1}, mode: manyAdapters}},
			in: map[string]*Node{"b.A": ConvertDType(n[2], held.dtype), "b.B": ConvertDType(n[3], held.dtype), "c.B": ConvertDType(n[4], held.dtype),
				joinedName(group): model.Pack(matrix)},
			ranges:   n[1],
			products: map[string]*Node{},
		}
		parts := l.adapted(0, n[0])
		base := l.products[joinedName(group)]
		if (base != nil) != fuses {
			t.Fatalf("in one call: %v, not %v", base != nil, fuses)
		}
		if base == nil {
			base = model.Product(n[0], l.in[joinedName(group)])
		}
		return append([]*Node{base}, parts...)
	})
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// TestKernelRefusesColumnsThatAreNotThere gives the kernel a range beyond the columns: an error, and the process goes on.
func TestKernelRefusesColumnsThatAreNotThere(t *testing.T) {
	t.Parallel()
	dev := devicetest.Open(t, device.XLA)
	ones := slices.Repeat([]float32{1}, 64)
	for _, ranges := range [][]int32{{0, 5}, {-1, 2}, {3, 2}} {
		if _, err := adaptedRows(t, dev, heldAdapters()["f32"], true, ones[:4], ranges, ones[:2*4*4], ones[:4*3], ones[:4*2]); err == nil ||
			!strings.Contains(err.Error(), "a range is not among the columns") {
			t.Errorf("columns %v of 4: %v", ranges, err)
		}
	}
}
