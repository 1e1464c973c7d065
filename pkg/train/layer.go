package train

import (
	"slices"

	"descant/pkg/lora"
	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// layerInputs are the inputs that forward and backward programs of a layer have in common, after their own.
type layerInputs struct {
	cos, sin *Node
	// Of a line: segments [lanes, lane] int32 is the number of each token's document, 0 beyond the lane's unit; at
	// [lanes, lane] int32 and back [width] int32 take a place in the lanes to its place on the line and back again.
	segments, at, back *Node
	// Or, where the attention has a kernel: the range [1, width, 2] int32 of places that each token sees ([model.Flash]).
	ranges *Node
	key    *Node
	frozen []*Node
	flat   *Node
}

// takeLayerInputs sorts the common inputs of a layer's program: cos, sin, segments, at and back or ranges (of a
// line; no other input is int32), key (with dropout), frozen weights, flat (if anything is trained). The rest follows.
func takeLayerInputs(t target, layer int, in []*Node) (l layerInputs, rest []*Node) {
	l.cos, l.sin, in = in[0], in[1], in[2:]
	if len(in) > 0 && in[0].DType() == dtypes.Int32 {
		if in[0].Rank() == 3 {
			l.ranges, in = in[0], in[1:]
		} else {
			l.segments, l.at, l.back, in = in[0], in[1], in[2], in[3:]
		}
	}
	if t.dropout() {
		l.key, in = in[0], in[1:]
	}
	n := len(t.frozen(layer))
	l.frozen, in = in[:n], in[n:]
	if t.size(layer) > 0 {
		l.flat, in = in[0], in[1:]
	}
	return l, in
}

// savedPerLayer is the number of values between the stages of a layer that the backward pass starts from. Most of their bytes
// are gate and up, which are kept in bf16 where products round what they are given (see [target].dtype).
const savedPerLayer = 7

// forwardLayer builds the forward pass of a layer. Inputs: x [batch, seq, hidden], the common ones. Outputs: the
// new residual stream, then q, k, v, attention, residual, gate, up for the backward pass.
func forwardLayer(t target, layer int, in []*Node) []*Node {
	x := in[0]
	l, _ := takeLayerInputs(t, layer, in[1:])
	block, _ := t.block(layer, l.frozen, l.flat, l.key)
	q, k, v := block.QKV(x)
	qh, kh, vh := block.Heads(q, k, v, l.cos, l.sin)
	attention := l.attend(t.dtype(), qh, kh, vh, t.window(layer))
	residual := block.Output(x, attention)
	gate, up := block.GateUp(residual)
	out := block.Down(residual, gate, up)
	return []*Node{out, q, k, v, attention, residual, ConvertDType(gate, t.dtype()), ConvertDType(up, t.dtype())}
}

// layerGradients collects the gradients of a layer's pieces, stage by stage. Every stage is differentiated by
// itself from saved inputs; the value of its product is then needed by nobody and drops out of the program.
type layerGradients struct {
	block    *model.Block
	adapters *lora.Adapters
	pieces   []piece
	grads    []*Node
}

// stage pulls the gradient of outputs back to inputs, and to the pieces of modules.
func (l *layerGradients) stage(modules []string, outputs, cotangents []*Node, inputs ...*Node) []*Node {
	wrt := append([]*Node{}, inputs...)
	var at []int
	for i, p := range l.pieces {
		if slices.Contains(modules, p.module) {
			wrt, at = append(wrt, p.node), append(at, i)
		}
	}
	pulled := pull(outputs, cotangents, wrt)
	for i, p := range at {
		l.grads[p] = pulled[len(inputs)+i]
	}
	return pulled[:len(inputs)]
}

// project pulls the gradients dys [batch, seq, out] of the linear maps of modules through to their common input x [batch, seq, in].
func (l *layerGradients) project(x *Node, modules []string, dys ...*Node) (dx *Node) {
	if l.adapters == nil {
		var outputs []*Node
		for _, module := range modules {
			outputs = append(outputs, l.block.Project(module, x))
		}
		return l.stage(modules, outputs, dys, x)[0]
	}
	flat := func(v *Node) *Node { return Reshape(v, v.Shape().Dim(0)*v.Shape().Dim(1), v.Shape().Dim(2)) }
	rows, weights := make([]*Node, len(dys)), make([]*Node, len(dys))
	for i, module := range modules {
		rows[i], weights[i] = flat(dys[i]), l.block.Weight(module)
	}
	dx, dA, dB := l.adapters.Pull(modules, flat(x), rows, weights)
	for i, module := range modules {
		if at, found := l.adapters.Index(module); found {
			l.grads[2*at], l.grads[2*at+1] = dA[i], dB[i]
		}
	}
	return Reshape(dx, x.Shape().Dimensions...)
}

// backwardLayer builds the backward pass of a layer. Inputs: dy (the gradient of the layer's output), x and the
// saved values of the forward pass, the common ones, and the flat gradient so far (if anything is trained).
// Outputs: dx if something below is trained, and the flat gradient with this layer's added.
func backwardLayer(t target, layer int, below bool, in []*Node) []*Node {
	dy, x := in[0], in[1]
	q, k, v, attention, residual := in[2], in[3], in[4], in[5], in[6]
	gate, up := ConvertDType(in[7], dtypes.Float32), ConvertDType(in[8], dtypes.Float32)
	c, rest := takeLayerInputs(t, layer, in[2+savedPerLayer:])
	block, pieces := t.block(layer, c.frozen, c.flat, c.key)
	l := &layerGradients{block: block, adapters: t.adapters(layer, c.flat, c.key), pieces: pieces, grads: make([]*Node, len(pieces))}

	dActivation := l.project(model.Gated(gate, up), []string{"mlp.down_proj"}, dy)
	d := pull([]*Node{model.Gated(gate, up)}, []*Node{dActivation}, []*Node{gate, up})
	h := block.MLPInput(residual)
	dh := l.project(h, []string{"mlp.gate_proj", "mlp.up_proj"}, d[0], d[1])
	dResidual := Add(dy, l.stage([]string{"post_attention_layernorm"}, []*Node{block.MLPInput(residual)}, []*Node{dh}, residual)[0])

	dAttention := l.project(attention, []string{"self_attn.o_proj"}, dResidual)
	d = l.attention(t, layer, q, k, v, attention, c, dAttention)
	h = block.AttentionInput(x)
	dh = l.project(h, []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, d[0], d[1], d[2])
	dx := Add(dResidual, l.stage([]string{"input_layernorm"}, []*Node{block.AttentionInput(x)}, []*Node{dh}, x)[0])

	var out []*Node
	if below {
		out = append(out, dx)
	}
	if len(pieces) == 0 {
		return out
	}
	flat := make([]*Node, len(pieces))
	for i, g := range l.grads {
		flat[i] = Reshape(g, g.Shape().Size())
	}
	return append(out, Add(rest[0], Concatenate(flat, 0)))
}

// attention pulls the gradient of the attention's result back to q, k and v, and to the norms of their heads.
func (l *layerGradients) attention(t target, layer int, q, k, v, attention *Node, c layerInputs, d *Node) []*Node {
	qh, kh, vh := l.block.Heads(q, k, v, c.cos, c.sin)
	dqh, dkh, dvh := c.pullAttend(t.dtype(), qh, kh, vh, attention, d, t.window(layer))
	// q, k and v go through the heads apart from one another.
	dq := l.stage([]string{"self_attn.q_norm"}, []*Node{qh}, []*Node{dqh}, q)[0]
	dk := l.stage([]string{"self_attn.k_norm"}, []*Node{kh}, []*Node{dkh}, k)[0]
	return []*Node{dq, dk, Reshape(dvh, v.Shape().Dimensions...)}
}

// pull multiplies the cotangents of outputs with the Jacobian: the gradients with respect to each node of wrt.
func pull(outputs, cotangents, wrt []*Node) []*Node {
	var sum *Node
	for i, out := range outputs {
		// A cotangent may have been computed from the very inputs that are asked for.
		part := ReduceAllSum(Mul(out, StopGradient(cotangents[i])))
		if sum == nil {
			sum = part
		} else {
			sum = Add(sum, part)
		}
	}
	return Gradient(sum, wrt...)
}
