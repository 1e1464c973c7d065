package model

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// AttendCached is [Attend] of new tokens over cached ones and, causally, over themselves. The cache is only read:
// the two parts meet in one softmax, so that nothing of the size of the cache is copied.
//
// q: [batch, seq, Heads, HeadDim]; k, v: [batch, seq, KVHeads, HeadDim] of the new tokens, already rotated;
// keys, values: [batch, KVHeads, context, HeadDim]; cached [batch] int32: how many positions of the context each
// row has filled, the new tokens come right behind them. A window above 0 hides what lies further back than window-1
// tokens from a new one. The result is [batch, seq, Heads·HeadDim].
func AttendCached(q, k, v, keys, values, cached *Node, window int) *Node {
	g := q.Graph()
	batch, seq, heads, dim := q.Shape().Dim(0), q.Shape().Dim(1), q.Shape().Dim(2), q.Shape().Dim(3)
	kvHeads, context := keys.Shape().Dim(1), keys.Shape().Dim(2)
	group := heads / kvHeads
	q = MulScalar(q, 1/math.Sqrt(float64(dim)))
	q = Reshape(q, batch, seq, kvHeads, group, dim)
	q = Reshape(TransposeAllAxes(q, 0, 2, 3, 1, 4), batch, kvHeads, group*seq, dim)
	k, v = TransposeAllAxes(k, 0, 2, 1, 3), TransposeAllAxes(v, 0, 2, 1, 3)
	both := []int{0, 1}

	old := Dot(q, keys).General([]int{3}, both, []int{3}, both)
	old = Reshape(old, batch, kvHeads, group, seq, context)
	old = maskScores(old, ExpandAxes(visible(cached, seq, context, window), 1, 2))
	old = Reshape(old, batch, kvHeads, group*seq, context)

	fresh := Dot(q, k).General([]int{3}, both, []int{3}, both)
	if seq > 1 {
		fresh = Reshape(fresh, batch, kvHeads, group, seq, seq)
		fresh = maskScores(fresh, ExpandAxes(CausalMask(g, seq, window), 0, 1))
		fresh = Reshape(fresh, batch, kvHeads, group*seq, seq)
	}

	top := Max(ReduceAndKeep(old, ReduceMax, -1), ReduceAndKeep(fresh, ReduceMax, -1))
	old = Exp(Sub(old, BroadcastToDims(top, old.Shape().Dimensions...)))
	fresh = Exp(Sub(fresh, BroadcastToDims(top, fresh.Shape().Dimensions...)))
	sum := Add(ReduceAndKeep(old, ReduceSum, -1), ReduceAndKeep(fresh, ReduceSum, -1))
	out := Add(Dot(old, values).General([]int{3}, both, []int{2}, both), Dot(fresh, v).General([]int{3}, both, []int{2}, both))
	out = Div(out, BroadcastToDims(sum, out.Shape().Dimensions...))
	out = TransposeAllAxes(Reshape(out, batch, kvHeads, group, seq, dim), 0, 3, 1, 2, 4)
	return Reshape(out, batch, seq, heads*dim)
}

// visible says which cached positions the new tokens of each row may see, [batch, seq, context] bool (seq 1 without a
// window, as it is then the same for all): position < cached and, with a window, position > cached + token - window.
func visible(cached *Node, seq, context, window int) *Node {
	if window == 0 {
		seq = 1
	}
	shape := shapes.Make(dtypes.Int32, cached.Shape().Dim(0), seq, context)
	g := cached.Graph()
	position := Iota(g, shape, 2)
	filled := BroadcastToDims(ExpandAxes(cached, 1, 2), shape.Dimensions...)
	mask := LessThan(position, filled)
	if window > 0 {
		mask = LogicalAnd(mask, GreaterThan(position, AddScalar(Add(filled, Iota(g, shape, 1)), -window)))
	}
	return mask
}

// maskScores hides the scores where mask is false. The value is finite: a row that sees nothing then gives a mean
// instead of a NaN.
func maskScores(scores, mask *Node) *Node {
	return Where(BroadcastToDims(mask, scores.Shape().Dimensions...), scores,
		FillScalar(scores.Graph(), scores.Shape(), -1e30))
}
