package model

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Linear computes one projection of a layer: x [rows, in] → [rows, out] with weight [in, out] f32 or [out, in]
// bf16, and bias [out] or nil. module is its name within the layer, for example "mlp.up_proj".
type Linear func(module string, x, weight, bias *Node) *Node

// Plain is the linear map itself: x·W + b. With a weight in bf16 it is a constant to autodiff: see [Product].
func Plain(_ string, x, weight, bias *Node) *Node {
	return Plus(Product(x, weight), bias)
}

// Plus adds bias [out], if it is not nil, to every row of y [rows, out].
func Plus(y, bias *Node) *Node {
	if bias == nil {
		return y
	}
	return Add(y, BroadcastToDims(ExpandAxes(bias, 0), y.Shape().Dimensions...))
}

// Block is one decoder layer within a graph.
type Block struct {
	cfg     *Config
	weights map[string]*Node
	linear  Linear
}

// NewBlock binds the weights of one layer, by their names within the layer ([Config.LayerTensors]) and in
// their shapes in memory ([Tensor.Memory]). A nil linear is [Plain].
func NewBlock(cfg *Config, weights map[string]*Node, linear Linear) *Block {
	if linear == nil {
		linear = Plain
	}
	return &Block{cfg: cfg, weights: weights, linear: linear}
}

// Weight is the matrix of a module.
func (b *Block) Weight(module string) *Node { return b.weights[module+".weight"] }

// Project applies the linear map of a module to x [batch, seq, in].
func (b *Block) Project(module string, x *Node) *Node {
	dims := x.Shape().Dimensions
	flat := Reshape(x, dims[0]*dims[1], dims[2])
	y := b.linear(module, flat, b.Weight(module), b.weights[module+".bias"])
	return Reshape(y, dims[0], dims[1], y.Shape().Dim(1))
}

// AttentionInput normalises x [batch, seq, hidden] for the projections of the attention.
func (b *Block) AttentionInput(x *Node) *Node {
	return RMSNorm(x, b.weights["input_layernorm.weight"], b.cfg.Eps)
}

// QKV normalises x [batch, seq, hidden] and gives queries [batch, seq, QWidth], keys and values
// [batch, seq, KVWidth], before norm and rotation of the heads.
func (b *Block) QKV(x *Node) (q, k, v *Node) {
	h := b.AttentionInput(x)
	return b.Project("self_attn.q_proj", h), b.Project("self_attn.k_proj", h), b.Project("self_attn.v_proj", h)
}

// Heads splits queries, keys and values of [Block.QKV] into heads and rotates queries and keys:
// q [batch, seq, Heads, HeadDim], k and v [batch, seq, KVHeads, HeadDim].
// cos, sin: [batch or 1, seq, HeadDim/2], see [Rope.Tables].
func (b *Block) Heads(q, k, v, cos, sin *Node) (qh, kh, vh *Node) {
	dims := q.Shape().Dimensions
	qh = Reshape(q, dims[0], dims[1], b.cfg.Heads, b.cfg.HeadDim)
	kh = Reshape(k, dims[0], dims[1], b.cfg.KVHeads, b.cfg.HeadDim)
	vh = Reshape(v, dims[0], dims[1], b.cfg.KVHeads, b.cfg.HeadDim)
	if b.cfg.QKNorm {
		qh = RMSNorm(qh, b.weights["self_attn.q_norm.weight"], b.cfg.Eps)
		kh = RMSNorm(kh, b.weights["self_attn.k_norm.weight"], b.cfg.Eps)
	}
	return Rotate(qh, cos, sin), Rotate(kh, cos, sin), vh
}

// Output adds the attention's result [batch, seq, QWidth] to the residual stream x [batch, seq, hidden].
func (b *Block) Output(x, attention *Node) *Node {
	return Add(x, b.Project("self_attn.o_proj", attention))
}

// MLPInput normalises the residual stream [batch, seq, hidden] for the projections of the MLP.
func (b *Block) MLPInput(residual *Node) *Node {
	return RMSNorm(residual, b.weights["post_attention_layernorm.weight"], b.cfg.Eps)
}

// GateUp normalises the residual stream and gives the two inputs of the gated MLP, each
// [batch, seq, intermediate].
func (b *Block) GateUp(residual *Node) (gate, up *Node) {
	h := b.MLPInput(residual)
	return b.Project("mlp.gate_proj", h), b.Project("mlp.up_proj", h)
}

// Down adds the MLP's result to the residual stream [batch, seq, hidden].
func (b *Block) Down(residual, gate, up *Node) *Node {
	return Add(residual, b.Project("mlp.down_proj", Gated(gate, up)))
}

// Gated is the activation of the MLP: SiLU(gate)·up.
func Gated(gate, up *Node) *Node { return Mul(SiLU(gate), up) }

// Forward runs the whole layer without a cache: x, result [batch, seq, hidden]; mask as in [Attend].
func (b *Block) Forward(x, cos, sin, mask *Node) *Node {
	q, k, v := b.QKV(x)
	q, k, v = b.Heads(q, k, v, cos, sin)
	residual := b.Output(x, Attend(dtypes.Float32, q, k, v, mask))
	gate, up := b.GateUp(residual)
	return b.Down(residual, gate, up)
}

// RMSNorm scales x to root mean square 1 over its last axis, then by weight: x·rsqrt(mean(x²)+eps)·w.
func RMSNorm(x, weight *Node, eps float64) *Node {
	mean := ReduceAndKeep(Square(x), ReduceMean, -1)
	// 1/√ rather than Rsqrt, which has no gradient in GoMLX.
	scale := Reciprocal(Sqrt(AddScalar(mean, eps)))
	dims := x.Shape().Dimensions
	w := ExpandLeftToRank(weight, x.Rank())
	return Mul(Mul(x, BroadcastToDims(scale, dims...)), BroadcastToDims(w, dims...))
}

// SiLU is x·sigmoid(x).
func SiLU(x *Node) *Node { return Mul(x, Logistic(x)) }

// CausalMask lets every position look at itself and at earlier ones, with a window above 0 only at the window-1
// before it: [1, seq, seq] bool.
func CausalMask(g *Graph, seq, window int) *Node {
	mask := LowerTriangular(g, seq)
	if window > 0 && window < seq {
		// As sliding_window_overlay in masking_utils.py: key > query - window.
		shape := shapes.Make(dtypes.Int32, seq, seq)
		mask = LogicalAnd(mask, GreaterThan(Iota(g, shape, 1), AddScalar(Iota(g, shape, 0), -window)))
	}
	return ExpandAxes(mask, 0)
}

// IsolatedMask is [CausalMask] within documents: a position looks only at those whose segment [batch, seq] int32 is
// its own: [batch, seq, seq].
func IsolatedMask(segments *Node, window int) *Node {
	batch, seq := segments.Shape().Dim(0), segments.Shape().Dim(1)
	wide := func(axis int) *Node { return BroadcastToDims(ExpandAxes(segments, axis), batch, seq, seq) }
	causal := BroadcastToDims(CausalMask(segments.Graph(), seq, window), batch, seq, seq)
	return LogicalAnd(causal, Equal(wide(2), wide(1)))
}

// PaddedMask is [CausalMask] without the positions where valid [batch, seq] bool is false: [batch, seq, seq].
func PaddedMask(valid *Node, window int) *Node {
	batch, seq := valid.Shape().Dim(0), valid.Shape().Dim(1)
	causal := BroadcastToDims(CausalMask(valid.Graph(), seq, window), batch, seq, seq)
	return LogicalAnd(causal, BroadcastToDims(ExpandAxes(valid, 1), batch, seq, seq))
}

// Embed looks up rows of the embedding [vocab, hidden] f32, bf16 or [Halves] for ids [batch, seq] int32: [batch, seq,
// hidden] f32.
func Embed(embedding, ids *Node) *Node {
	return Widen(Gather(embedding, ExpandAxes(ids, -1)))
}

// Logits applies final norm and head to x [rows, hidden]: [rows, vocab]. head is [vocab, hidden], the
// embedding itself where the model is tied.
func Logits(cfg *Config, x, norm, head *Node) *Node {
	return HeadProduct(RMSNorm(x, norm, cfg.Eps), head)
}
