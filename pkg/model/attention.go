package model

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Attend is grouped-query attention: q [batch, seq, Heads, HeadDim], k and v [batch, keys, KVHeads, HeadDim],
// mask [batch or 1, seq, keys] bool (true = may look); the result is [batch, seq, Heads·HeadDim]. Query head h
// uses key/value head h / (Heads/KVHeads). A row that may look at nothing averages all values. With dtype bf16 what each product
// is given is rounded to it, with f32 it is taken as it is; sums and softmax are f32.
func Attend(dtype dtypes.DType, q, k, v, mask *Node) *Node {
	a := newAttention(dtype, q, k, mask)
	out := a.product(a.weights, keysSwapped(v), 3, 2)
	return Reshape(a.rows(out), a.batch, a.seq, a.kvHeads*a.group*a.dim)
}

// PullAttend pulls the gradient d [batch, seq, Heads·HeadDim] of [Attend]'s result out back to q, k and v. It is written by
// hand because what autodiff derives for the softmax passes over the scores many more times. With P the weights:
// dV = Pᵀ·d, dS = P∘(d·Vᵀ − rowsum(d∘out)), dQ = dS·K/√HeadDim, dK = dSᵀ·Q/√HeadDim (Dao et al. 2022, appendix B).
func PullAttend(dtype dtypes.DType, q, k, v, mask, out, d *Node) (dq, dk, dv *Node) {
	a := newAttention(dtype, q, k, mask)
	d = Through(dtype, d) // so that dS is 0 where a row looks at one key
	dOut := a.queries(Reshape(d, a.batch, a.seq, a.kvHeads*a.group, a.dim))
	dWeights := a.product(dOut, keysSwapped(v), 3, 3)
	shape := dWeights.Shape().Dimensions
	along := ReduceSum(Reshape(Mul(d, out), a.batch, a.seq, a.kvHeads, a.group, a.dim), -1)
	along = Reshape(TransposeAllAxes(along, 0, 2, 3, 1), a.batch, a.kvHeads, a.group*a.seq, 1)
	// It is 0 where the mask hides, as the weight is.
	dScores := MulScalar(Mul(a.weights, Sub(dWeights, BroadcastToDims(along, shape...))), a.scale())
	dq = a.rows(a.product(dScores, keysSwapped(k), 3, 2))
	dk = keysSwapped(a.product(dScores, a.q, 2, 2))
	dv = keysSwapped(a.product(a.weights, dOut, 2, 2))
	return dq, dk, dv
}

// AttendCausal is [Attend] where query i stands at key i and the mask lets no query look at a later key: a block of queries is
// computed with no keys beyond its last one, which spares up to half of the scores.
func AttendCausal(dtype dtypes.DType, q, k, v, mask *Node) *Node {
	var parts []*Node
	for _, b := range causalBlocks(q.Shape().Dim(1)) {
		parts = append(parts, Attend(dtype, b.queries(q), b.keys(k), b.keys(v), b.scores(mask)))
	}
	return Concatenate(parts, 1)
}

// PullAttendCausal is [PullAttend] for [AttendCausal].
func PullAttendCausal(dtype dtypes.DType, q, k, v, mask, out, d *Node) (dq, dk, dv *Node) {
	var parts []*Node
	for _, b := range causalBlocks(q.Shape().Dim(1)) {
		dqPart, dkPart, dvPart := PullAttend(dtype, b.queries(q), b.keys(k), b.keys(v), b.scores(mask), b.queries(out), b.queries(d))
		parts = append(parts, dqPart)
		dk, dv = plusFirst(dkPart, dk), plusFirst(dvPart, dv)
	}
	return Concatenate(parts, 1), dk, dv
}

// causalBlock are the queries from first to end-1, which look at the keys before end.
type causalBlock struct{ first, end int }

// More blocks spare less and less, and each is code to compile; in small ones the products are too narrow.
const (
	maxCausalBlocks  = 4
	minCausalQueries = 128
)

func causalBlocks(seq int) []causalBlock {
	n := max(1, min(maxCausalBlocks, seq/minCausalQueries))
	blocks := make([]causalBlock, n)
	for i := range blocks {
		blocks[i] = causalBlock{i * seq / n, (i + 1) * seq / n}
	}
	return blocks
}

// queries and keys cut axis 1 of x, scores the last two axes of a mask.
func (b causalBlock) queries(x *Node) *Node {
	return SliceAxis(x, 1, AxisRange(b.first, b.end))
}

func (b causalBlock) keys(x *Node) *Node { return SliceAxis(x, 1, AxisRange(0, b.end)) }

func (b causalBlock) scores(mask *Node) *Node {
	return SliceAxis(SliceAxis(mask, 1, AxisRange(b.first, b.end)), 2, AxisRange(0, b.end))
}

// plusFirst adds less, which may be nil, to the first places of axis 1 of more.
func plusFirst(more, less *Node) *Node {
	if less == nil {
		return more
	}
	n := less.Shape().Dim(1)
	head := Add(SliceAxis(more, 1, AxisRange(0, n)), less)
	if n == more.Shape().Dim(1) {
		return head
	}
	return Concatenate([]*Node{head, SliceAxis(more, 1, AxisRange(n))}, 1)
}

// attention is what [Attend] and [PullAttend] have in common. The heads of a group share their keys, so their queries are
// rows of one product.
type attention struct {
	dtype                                 dtypes.DType
	batch, seq, keys, kvHeads, group, dim int

	q       *Node // [batch, KVHeads, group·seq, HeadDim]
	weights *Node // [batch, KVHeads, group·seq, keys]: softmax of the scores
}

func newAttention(dtype dtypes.DType, q, k, mask *Node) *attention {
	kvHeads := k.Shape().Dim(2)
	a := &attention{dtype: dtype, batch: q.Shape().Dim(0), seq: q.Shape().Dim(1), keys: k.Shape().Dim(1), kvHeads: kvHeads,
		group: q.Shape().Dim(2) / kvHeads, dim: q.Shape().Dim(3)}
	a.q = a.queries(q)
	scores := a.product(a.q, keysSwapped(k), 3, 3)
	scores = MulScalar(scores, a.scale())
	scores = Reshape(scores, a.batch, kvHeads, a.group, a.seq, a.keys)
	mask = BroadcastToDims(ExpandAxes(mask, 1, 2), scores.Shape().Dimensions...)
	scores = Where(mask, scores, FillScalar(scores.Graph(), scores.Shape(), -1e30))
	top := StopGradient(ReduceAndKeep(scores, ReduceMax, -1))
	weights := Exp(Sub(scores, BroadcastToDims(top, scores.Shape().Dimensions...)))
	sum := ReduceAndKeep(weights, ReduceSum, -1)
	weights = Div(weights, BroadcastToDims(sum, scores.Shape().Dimensions...))
	a.weights = Reshape(weights, a.batch, kvHeads, a.group*a.seq, a.keys)
	return a
}

// product is that of the last two axes of x and y over one of each, for every row and head of keys.
func (a *attention) product(x, y *Node, xAxis, yAxis int) *Node {
	return Contract(a.dtype, x, xAxis, y, yAxis)
}

func (a *attention) scale() float64 { return 1 / math.Sqrt(float64(a.dim)) }

// queries brings [batch, seq, Heads, HeadDim] to [batch, KVHeads, group·seq, HeadDim], rows brings it back.
func (a *attention) queries(x *Node) *Node {
	x = Reshape(x, a.batch, a.seq, a.kvHeads, a.group, a.dim)
	return Reshape(TransposeAllAxes(x, 0, 2, 3, 1, 4), a.batch, a.kvHeads, a.group*a.seq, a.dim)
}

func (a *attention) rows(x *Node) *Node {
	x = TransposeAllAxes(Reshape(x, a.batch, a.kvHeads, a.group, a.seq, a.dim), 0, 3, 1, 2, 4)
	return Reshape(x, a.batch, a.seq, a.kvHeads*a.group, a.dim)
}

// keysSwapped brings [batch, keys, KVHeads, HeadDim] to [batch, KVHeads, keys, HeadDim] or back.
func keysSwapped(x *Node) *Node { return TransposeAllAxes(x, 0, 2, 1, 3) }
