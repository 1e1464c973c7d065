package generate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"descant/pkg/device"
	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// adaptedRows computes what adapters add to the rows of x [rows, in] in two modules, whose columns a and bs hold, by the kernel or by masks.
func adaptedRows(t *testing.T, dev *device.Device, dtype dtypes.DType, kernel bool, x []float32, ranges []int32, a, b, c []float32) ([][]float32, error) {
	t.Helper()
	compiler := model.NewServingCompiler(dev.Backend())
	if kernel != device.HasKernels(compiler.Backend()) {
		compiler = model.NewCompiler(dev.Backend())
	}
	rows := len(ranges) / 2
	in := len(x) / rows
	columns := len(a) / in / 2
	group := []model.Projection{{Module: "b", In: in, Out: len(b) / columns}, {Module: "c", In: in, Out: len(c) / columns}}
	var arrays []*model.Array
	defer func() { model.FreeAll(arrays...) }()
	var list []shapes.Shape
	for _, values := range [][]float32{x, a, b, c} {
		array, err := model.Upload(dev.Backend(), values, len(values))
		if err != nil {
			t.Fatal(err)
		}
		arrays, list = append(arrays, array), append(list, array.Shape())
	}
	array, err := model.Upload(dev.Backend(), ranges, rows, 2)
	if err != nil {
		t.Fatal(err)
	}
	arrays, list = append(arrays, array), append(list, array.Shape())
	program, err := compiler.Compile("adapters", list, func(_ *Graph, n []*Node) []*Node {
		matrix := func(n *Node, rows int) *Node { return ConvertDType(Reshape(n, rows, -1), dtype) }
		l := &layerGraph{
			layerPlan: layerPlan{kernels: kernel, adapters: columnShapes{dtype: dtype, columns: columns, groups: [][]model.Projection{group}}},
			shape:     layerShape{stepShape: stepShape{batchShape: batchShape{rows, 1}, mode: manyAdapters}},
			in:        map[string]*Node{"b.A": matrix(n[1], 2*columns), "b.B": matrix(n[2], columns), "c.B": matrix(n[3], columns)},
			ranges:    n[4], functions: map[string]*Function{},
		}
		return l.adapted(0, Reshape(n[0], rows, in))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	results, err := program.Run(arrays...)
	if err != nil {
		return nil, err
	}
	defer model.FreeAll(results...)
	var all [][]float32
	for _, r := range results {
		values, err := model.Download[float32](r)
		if err != nil {
			return nil, err
		}
		all = append(all, values)
	}
	return all, nil
}

// TestKernelGivesWhatMasksGive compares the kernel of [device.WithKernels] with the products that its function has for a body: for adapters
// of several ranks, rows without one, and sizes that fill no vector; and each row with the same one alone.
func TestKernelGivesWhatMasksGive(t *testing.T) {
	t.Parallel()
	dev, err := device.Open(device.XLA)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	for _, dtype := range []dtypes.DType{dtypes.Float32, dtypes.BFloat16} {
		for _, size := range [][3]int{{37, 45, 3}, {64, 128, 32}, {1, 1, 1}, {300, 17, 96}} {
			t.Run(fmt.Sprint(dtype, size), func(t *testing.T) {
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
				ranges := []int32{0, 8, 8, 8, 8, 9, 9, 14, 0, 8, 14, 23, 0, 0, 9, 14, 23, 23}
				rows := len(ranges) / 2
				x, a, b, c := numbers(rows*in), numbers(2*columns*in), numbers(columns*size[1]), numbers(columns*size[2])
				got, err := adaptedRows(t, dev, dtype, true, x, ranges, a, b, c)
				if err != nil {
					t.Fatal(err)
				}
				want, err := adaptedRows(t, dev, dtype, false, x, ranges, a, b, c)
				if err != nil {
					t.Fatal(err)
				}
				limit := 1e-4
				if dtype == dtypes.BFloat16 {
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
					alone, err := adaptedRows(t, dev, dtype, true, x[row*in:(row+1)*in], ranges[2*row:2*row+2], a, b, c)
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
				after, err := adaptedRows(t, dev, dtype, true, x, ranges, a, b, c)
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

// TestKernelRefusesColumnsThatAreNotThere gives the kernel a range beyond the columns: an error, and the process goes on.
func TestKernelRefusesColumnsThatAreNotThere(t *testing.T) {
	t.Parallel()
	dev, err := device.Open(device.XLA)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	ones := slices.Repeat([]float32{1}, 64)
	for _, ranges := range [][]int32{{0, 5}, {-1, 2}, {3, 2}} {
		if _, err := adaptedRows(t, dev, dtypes.Float32, true, ones[:4], ranges, ones[:2*4*4], ones[:4*3], ones[:4*2]); err == nil ||
			!strings.Contains(err.Error(), "a range is not among the columns") {
			t.Errorf("columns %v of 4: %v", ranges, err)
		}
	}
}
