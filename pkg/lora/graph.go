package lora

import (
	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Linear implements [model.Patch]: the layer's linear map with the adapter added, without dropout.
// params: [Size] f32.
func (p *Plan) Linear(layer int, params *Node) model.Linear {
	return p.LinearOf(layer, p.Split(layer, params), nil)
}

// Split cuts a layer's flat array [Size] into its matrices: A [rank, in] and B [out, rank] of each module.
func (p *Plan) Split(layer int, params *Node) []*Node {
	var parts []*Node
	for _, m := range p.Layers[layer] {
		a := Slice(params, AxisRange(m.A, m.A+m.Rank*m.In))
		b := Slice(params, AxisRange(m.B, m.B+m.Out*m.Rank))
		parts = append(parts, Reshape(a, m.Rank, m.In), Reshape(b, m.Out, m.Rank))
	}
	return parts
}

// LinearOf is the linear map for matrices from [Plan.Split]. With a key (a scalar uint32 that differs for
// every layer and micro-batch) inputs of A are dropped with the configured probability and the others scaled
// up; the same key drops the same elements again, which the backward pass relies on.
func (p *Plan) LinearOf(layer int, parts []*Node, key *Node) model.Linear {
	return func(module string, x, weight, bias *Node) *Node {
		y := model.Plain(module, x, weight, bias)
		for i, m := range p.Layers[layer] {
			if m.Local != module {
				continue
			}
			a, b := parts[2*i], parts[2*i+1]
			if key != nil && p.dropout > 0 {
				x = drop(x, key, uint32(i+1), p.dropout)
			}
			low := Dot(x, a).General([]int{1}, nil, []int{1}, nil)
			delta := Dot(low, b).General([]int{1}, nil, []int{1}, nil)
			y = Add(y, MulScalar(delta, m.Scale))
		}
		return y
	}
}

// Pull is the gradient of the adapter's part of [Plan.LinearOf] for one module, the i-th of the layer: x [rows, in], dy
// [rows, out] → dx [rows, in], dA [rank, in], dB [out, rank]. It is written by hand for the order of its products: dB is
// the transpose of lowᵀ·dy, whose wide side is the contiguous one.
func (p *Plan) Pull(layer, i int, parts []*Node, key, x, dy *Node) (dx, dA, dB *Node) {
	m := p.Layers[layer][i]
	a, b := parts[2*i], parts[2*i+1]
	dropped := func(v *Node) *Node {
		if key == nil || p.dropout == 0 {
			return v
		}
		return drop(v, key, uint32(i+1), p.dropout)
	}
	x = dropped(x)
	low := MulScalar(Dot(x, a).General([]int{1}, nil, []int{1}, nil), m.Scale)
	dLow := MulScalar(Dot(dy, b).General([]int{1}, nil, []int{0}, nil), m.Scale)
	dA = Dot(dLow, x).General([]int{0}, nil, []int{0}, nil)
	dB = Transpose(Dot(low, dy).General([]int{0}, nil, []int{0}, nil), 0, 1)
	return dropped(Dot(dLow, a).General([]int{1}, nil, []int{0}, nil)), dA, dB
}

// drop zeroes elements of x [rows, width] with probability p and scales the others by 1/(1-p). Which ones is a
// hash of key, salt and place (the finaliser of MurmurHash3), the same on every device.
func drop(x, key *Node, salt uint32, p float64) *Node {
	g := x.Graph()
	shape := shapes.Make(dtypes.Uint32, x.Shape().Dimensions...)
	width := x.Shape().Dim(1)
	place := Add(MulScalar(Iota(g, shape, 0), uint32(width)), Iota(g, shape, 1))
	h := Add(MulScalar(place, uint32(0x9e3779b1)), BroadcastToDims(AddScalar(MulScalar(key, uint32(0x85ebca77)), salt*0xc2b2ae3d), shape.Dimensions...))
	h = MulScalar(BitwiseXor(h, BitwiseShiftRightLogicalScalar(h, uint32(16))), uint32(0x85ebca6b))
	h = MulScalar(BitwiseXor(h, BitwiseShiftRightLogicalScalar(h, uint32(13))), uint32(0xc2b2ae35))
	h = BitwiseXor(h, BitwiseShiftRightLogicalScalar(h, uint32(16)))
	kept := GreaterOrEqual(h, BroadcastToDims(Scalar(g, dtypes.Uint32, uint32(p*(1<<32))), shape.Dimensions...))
	return Where(kept, MulScalar(x, 1/(1-p)), ZerosLike(x))
}
