package model

import (
	"descant/pkg/device"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Flash is [Attend] by a kernel ([device.HasFlash]) where a query sees the keys of one range and, with a window above 0, of these the window last ones: q [batch, seq,
// Heads, HeadDim], k and v [batch, keys, KVHeads, HeadDim], ranges [batch, seq, 2] int32: the first key that a query sees, and the one behind its last. No range
// is empty. With dtype bf16 q, k and v are rounded to it. The scores are nowhere in memory.
func Flash(dtype dtypes.DType, q, k, v, ranges *Node, window int) *Node {
	dims := q.Shape().Dimensions
	result := shapes.Make(q.DType(), dims[0], dims[1], dims[2]*dims[3])
	return CallKernel(device.Flash, []*Node{Through(dtype, q), Through(dtype, k), Through(dtype, v), latest(ranges, window)}, result)[0]
}

// PullFlash pulls the gradient d [batch, seq, Heads·HeadDim] of [Flash]'s result out back to q, k and v.
func PullFlash(dtype dtypes.DType, q, k, v, ranges, out, d *Node, window int) (dq, dk, dv *Node) {
	in := []*Node{Through(dtype, q), Through(dtype, k), Through(dtype, v), latest(ranges, window), out, Through(dtype, d)}
	grads := CallKernel(device.FlashPull, in, q.Shape(), k.Shape(), v.Shape())
	return grads[0], grads[1], grads[2]
}

// latest cuts ranges to the last keys, as many as a window above 0 has.
func latest(ranges *Node, window int) *Node {
	if window == 0 {
		return ranges
	}
	end := SliceAxis(ranges, 2, AxisRange(1))
	return Concatenate([]*Node{Max(SliceAxis(ranges, 2, AxisRange(0, 1)), AddScalar(end, -window)), end}, 2)
}
