package model

import (
	"math"
	"testing"

	"descant/pkg/device"
	"descant/pkg/device/devicetest"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// TestAttendCausal compares attention in blocks with attention over all keys, result and gradients, for lengths that give
// one block, several and unequal ones, without and with a window and documents, and in bf16 with that in f32.
func TestAttendCausal(t *testing.T) {
	t.Parallel()
	dev := devicetest.Open(t, device.Auto)
	const batch, heads, kvHeads, dim = 2, 4, 2, 8
	for name, c := range map[string]struct {
		seq, window, document, blocks int
	}{
		"one block": {100, 0, 0, 1}, "two": {256, 0, 0, 2}, "unequal": {515, 0, 0, 4}, "window": {384, 50, 0, 3}, "documents": {256, 0, 70, 2},
	} {
		t.Run(name, func(t *testing.T) {
			if n := len(causalBlocks(c.seq)); n != c.blocks {
				t.Errorf("%d blocks", n)
			}
			wide := func(n int) shapes.Shape { return shapes.Make(dtypes.Float32, batch, c.seq, n, dim) }
			flat := shapes.Make(dtypes.Float32, batch, c.seq, heads*dim)
			in := []shapes.Shape{wide(heads), wide(kvHeads), wide(kvHeads), flat}
			results := computed(t, NewCompiler(dev.Backend()), in, func(g *Graph, n []*Node) []*Node {
				q, k, v, d := n[0], n[1], n[2], n[3]
				mask := CausalMask(g, c.seq, c.window)
				if c.document > 0 {
					segments := DivScalar(Iota(g, shapes.Make(dtypes.Int32, batch, c.seq), 1), int32(c.document))
					mask = IsolatedMask(segments, c.window)
				}
				whole := Attend(dtypes.Float32, q, k, v, mask)
				dq, dk, dv := PullAttend(dtypes.Float32, q, k, v, mask, whole, d)
				var out []*Node
				for _, dtype := range []dtypes.DType{dtypes.Float32, dtypes.BFloat16} {
					parts := AttendCausal(dtype, q, k, v, mask)
					dqParts, dkParts, dvParts := PullAttendCausal(dtype, q, k, v, mask, parts, d)
					for _, pair := range [][2]*Node{{whole, parts}, {dq, dqParts}, {dk, dkParts}, {dv, dvParts}} {
						out = append(out, ReduceAllMax(Abs(Sub(pair[0], pair[1]))), ReduceAllMax(Abs(pair[0])))
					}
				}
				return out
			}, normals(t, dev.Backend(), in))
			for i := 0; i < len(results); i += 2 {
				off, top := results[i], results[i+1]
				limit := 1e-5
				if i/2 >= 4 { // in bf16
					limit = 1e-2
				}
				if far := float64(off[0] / top[0]); math.IsNaN(far) || far > limit || top[0] == 0 || i/2 >= 4 && off[0] == 0 {
					t.Errorf("output %d is off by %g of %g", i/2, off[0], top[0])
				}
			}
		})
	}
}
