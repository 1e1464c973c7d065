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
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// attended computes the attention of rows in a cache of five, by the kernel or by XLA's products. The values are made of a seed for each row.
func attended(t *testing.T, dev *device.Device, kernel bool, cfg model.Config, tokens, context, window int, cached, index []int32) ([]float32, error) {
	t.Helper()
	const caches = 5
	numbers := func(rows []int32, salt uint64, size int) []float32 {
		var list []float32
		for _, row := range rows {
			random := rand.New(rand.NewPCG(uint64(row), salt))
			for range size {
				list = append(list, float32(random.NormFloat64()))
			}
		}
		return list
	}
	kv, all := cfg.KVHeads*cfg.HeadDim, []int32{0, 1, 2, 3, 4}
	rows := len(index)
	arrays := []*model.Array{
		uploaded(t, dev, numbers(index, 1, tokens*cfg.Heads*cfg.HeadDim), rows, tokens, cfg.Heads, cfg.HeadDim),
		uploaded(t, dev, numbers(index, 2, tokens*kv), rows, tokens, cfg.KVHeads, cfg.HeadDim),
		uploaded(t, dev, numbers(index, 3, tokens*kv), rows, tokens, cfg.KVHeads, cfg.HeadDim),
		uploaded(t, dev, numbers(all, 4, kv*context), caches, cfg.KVHeads, context, cfg.HeadDim),
		uploaded(t, dev, numbers(all, 5, kv*context), caches, cfg.KVHeads, context, cfg.HeadDim),
		uploaded(t, dev, cached, rows), uploaded(t, dev, index, rows),
	}
	results, err := computed(t, dev, kernel, arrays, func(n []*Node) []*Node {
		l := &layerGraph{
			layerPlan: layerPlan{config: &cfg, kernels: kernel, rows: caches},
			shape:     layerShape{stepShape: stepShape{batchShape: batchShape{rows, tokens}}, context: context, window: window},
			in:        map[string]*Node{"cached": n[5], "rows": n[6]},
		}
		y := l.attend(n[0], n[1], n[2], n[3], n[4])
		if want := shapes.Make(dtypes.Float32, rows, tokens, cfg.Heads*cfg.HeadDim); !y.Shape().Equal(want) {
			t.Errorf("the result is %s, not %s", y.Shape(), want)
		}
		return []*Node{y}
	})
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

// TestAttentionKernel compares the kernels with [model.AttendCached], for one new token and several, caches that are empty, full and between, with windows and
// without, head widths that fill no vector, and each row with itself alone.
func TestAttentionKernel(t *testing.T) {
	t.Parallel()
	dev := devicetest.Open(t, device.XLA)
	for _, c := range []struct{ tokens, heads, kvHeads, dim, context, window int }{
		{1, 14, 2, 64, 256, 0}, {1, 4, 4, 8, 40, 0}, {1, 6, 2, 20, 100, 7}, {1, 3, 1, 50, 33, 40}, {1, 2, 2, 128, 70, 1},
		{128, 14, 2, 64, 256, 0}, {2, 4, 4, 8, 40, 0}, {33, 6, 2, 20, 100, 7}, {64, 3, 1, 50, 33, 40}, {5, 2, 2, 128, 70, 1}, {3, 2, 1, 258, 9, 0},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			cfg := model.Config{Heads: c.heads, KVHeads: c.kvHeads, HeadDim: c.dim}
			cached := []int32{0, 1, int32(c.context), int32(c.context) / 2}
			index := []int32{2, 0, 4, 3}
			got, err := attended(t, dev, true, cfg, c.tokens, c.context, c.window, cached, index)
			if err != nil {
				t.Fatal(err)
			}
			want, err := attended(t, dev, false, cfg, c.tokens, c.context, c.window, cached, index)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(want) || len(want) == 0 {
				t.Fatalf("%d results, not %d", len(got), len(want))
			}
			for i, v := range want {
				if !(math.Abs(float64(v-got[i])) <= 2e-6) {
					t.Fatalf("result %d is %g, not %g", i, got[i], v)
				}
			}
			width := len(got) / len(index)
			for row := range index {
				alone, err := attended(t, dev, true, cfg, c.tokens, c.context, c.window, cached[row:row+1], index[row:row+1])
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(alone, got[row*width:(row+1)*width]) {
					t.Errorf("row %d differs alone", row)
				}
			}
		})
	}
	cfg := model.Config{Heads: 2, KVHeads: 1, HeadDim: 8}
	for _, wrong := range [][2]int32{{17, 0}, {-1, 0}, {3, 5}, {3, -1}} {
		for _, tokens := range []int{1, 4} {
			if _, err := attended(t, dev, true, cfg, tokens, 16, 0, wrong[:1], wrong[1:]); err == nil || !strings.Contains(err.Error(), "not in the cache") {
				t.Errorf("%d tokens, %d positions of cache %d: %v", tokens, wrong[0], wrong[1], err)
			}
		}
	}
}
