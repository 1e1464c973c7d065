package train

import (
	"descant/pkg/model"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph functions read like formulas
)

// layerInputs are the inputs that forward and backward programs of a layer have in common, after their own.
type layerInputs struct {
	cos, sin *Node
	key      *Node
	frozen   []*Node
	flat     *Node
}

// takeLayerInputs sorts the common inputs of a layer's program: cos, sin, key (with dropout), frozen weights,
// flat (if anything is trained). The rest follows.
func takeLayerInputs(t target, layer int, in []*Node) (l layerInputs, rest []*Node) {
	l.cos, l.sin, in = in[0], in[1], in[2:]
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

// saved are the values between the stages of a layer that the backward pass starts from.
const savedPerLayer = 7

// forwardLayer builds the forward pass of a layer. Inputs: x [batch, seq, hidden], the common ones. Outputs: the
// new residual stream, then q, k, v, attention, residual, gate, up for the backward pass.
func forwardLayer(t target, layer int, in []*Node) []*Node {
	x := in[0]
	l, _ := takeLayerInputs(t, layer, in[1:])
	block, _ := t.block(layer, l.frozen, l.flat, l.key)
	mask := model.CausalMask(x.Graph(), x.Shape().Dim(1), t.window(layer))
	q, k, v := block.QKV(x)
	qh, kh, vh := block.Heads(q, k, v, l.cos, l.sin)
	attention := model.Attend(qh, kh, vh, mask)
	residual := block.Output(x, attention)
	gate, up := block.GateUp(residual)
	return []*Node{block.Down(residual, gate, up), q, k, v, attention, residual, gate, up}
}

// backwardLayer builds the backward pass of a layer. Inputs: dy (the gradient of the layer's output), x and the
// saved values of the forward pass, the common ones, and the flat gradient so far (if anything is trained).
// Outputs: dx, and the flat gradient with this layer's added.
//
// Every stage is differentiated by itself from saved inputs; the value of its product is then needed by nobody
// and drops out of the program.
func backwardLayer(t target, layer int, in []*Node) []*Node {
	dy, x := in[0], in[1]
	q, k, v, attention, residual, gate, up := in[2], in[3], in[4], in[5], in[6], in[7], in[8]
	l, rest := takeLayerInputs(t, layer, in[2+savedPerLayer:])
	block, pieces := t.block(layer, l.frozen, l.flat, l.key)
	mask := model.CausalMask(x.Graph(), x.Shape().Dim(1), t.window(layer))
	grads := make([]*Node, len(pieces))
	// stage pulls the gradient of outputs back to inputs, and to the pieces of the named modules.
	stage := func(outputs, cotangents, inputs []*Node, modules ...string) []*Node {
		wrt := append([]*Node{}, inputs...)
		var at []int
		for i, p := range pieces {
			for _, m := range modules {
				if p.module == m {
					wrt, at = append(wrt, p.node), append(at, i)
				}
			}
		}
		pulled := pull(outputs, cotangents, wrt)
		for i, p := range at {
			grads[p] = pulled[len(inputs)+i]
		}
		return pulled[:len(inputs)]
	}

	d := stage([]*Node{block.Down(residual, gate, up)}, []*Node{dy}, []*Node{residual, gate, up}, "mlp.down_proj")
	dResidual := d[0]

	gate, up = block.GateUp(residual)
	d = stage([]*Node{gate, up}, d[1:], []*Node{residual}, "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj")
	dResidual = Add(dResidual, d[0])

	d = stage([]*Node{block.Output(x, attention)}, []*Node{dResidual}, []*Node{x, attention}, "self_attn.o_proj")
	dx := d[0]

	qh, kh, vh := block.Heads(q, k, v, l.cos, l.sin)
	d = stage([]*Node{model.Attend(qh, kh, vh, mask)}, d[1:], []*Node{q, k, v}, "self_attn.q_norm", "self_attn.k_norm")

	q, k, v = block.QKV(x)
	d = stage([]*Node{q, k, v}, d, []*Node{x}, "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
	dx = Add(dx, d[0])

	if len(pieces) == 0 {
		return []*Node{dx}
	}
	flat := make([]*Node, len(grads))
	for i, g := range grads {
		flat[i] = Reshape(g, g.Shape().Size())
	}
	return []*Node{dx, Add(rest[0], Concatenate(flat, 0))}
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
