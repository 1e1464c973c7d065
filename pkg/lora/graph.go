package lora

import (
	"slices"

	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Linear implements [model.Patch]: the layer's linear map with the adapter added, without dropout.
// params: [Size] f32.
func (p *Plan) Linear(layer int, params *Node) model.Linear {
	return p.Adapters(layer, params, nil).Linear
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

// Adapters are the adapters of one layer within a graph. The products of modules that are computed from one input are one
// product where that is possible, as many narrow ones take longer than few wide ones.
//
// Where a module's weight is in bf16 its adapter's products round what they are given to bf16 too and add up in f32; the matrices
// and their gradients stay f32.
type Adapters struct {
	// Parts are the matrices of [Plan.Split].
	Parts []*Node

	modules []Module
	dropout float64
	key     *Node
	lows    map[int]*Node // by the first of modules with one input: x·Aᵀ of all of them
}

// Adapters binds a layer's matrices from its flat array, params [Size] f32, or nil for the layer without adapters. With a key (a scalar
// uint32 that differs for every layer and micro-batch) inputs of A are dropped with the configured probability and the others
// scaled up; the same key drops the same elements again, which the backward pass relies on.
func (p *Plan) Adapters(layer int, params, key *Node) *Adapters {
	a := &Adapters{lows: map[int]*Node{}}
	if key != nil && p.dropout > 0 {
		a.dropout, a.key = p.dropout, key
	}
	if params != nil {
		a.modules, a.Parts = p.Layers[layer], p.Split(layer, params)
	}
	return a
}

// Index is the place of a module among those of the layer that have an adapter; its matrices are Parts[2·i] and Parts[2·i+1].
func (a *Adapters) Index(module string) (i int, found bool) {
	i = slices.IndexFunc(a.modules, func(m Module) bool { return m.Local == module })
	return i, i >= 0
}

// Linear is a [model.Linear] with the adapter added. The modules of one entry of [model.Config.SharedInputs] must all be given
// the same x. With a weight in halves the result is a constant to autodiff, adapter and all: see [Adapters.Pull].
func (a *Adapters) Linear(module string, x, weight, bias *Node) *Node {
	i, found := a.Index(module)
	if !found {
		return model.Plain(module, x, weight, bias)
	}
	return model.Plus(model.AdaptedProduct(x, weight, a.low(i, x, model.Arithmetic(weight.DType())), a.Parts[2*i+1]), bias)
}

// Pull is the gradient of [Adapters.Linear], without what autodiff adds for the bias, for modules with one input x [rows, in],
// whose results have the gradients dy [rows, out]: dx [rows, in], and of each module dA [rank, in] and dB [out, rank], nil for
// one without an adapter. It is written by hand for the order of its products: dB is the transpose of lowᵀ·dy, whose wide side is
// the contiguous one.
func (a *Adapters) Pull(modules []string, x *Node, dys, weights []*Node) (dx *Node, dA, dB []*Node) {
	dA, dB = make([]*Node, len(modules)), make([]*Node, len(modules))
	type shared struct {
		at   []int   // places in modules
		dLow []*Node // [rows, rank] each
	}
	groups := map[int]*shared{} // by the first of those that share products
	for k, module := range modules {
		i, found := a.Index(module)
		if !found {
			continue
		}
		dtype := model.Arithmetic(weights[k].DType())
		dB[k] = Transpose(model.Contract(dtype, a.low(i, x, dtype), 0, dys[k], 0), 0, 1)
		first, _ := a.together(i)
		if groups[first] == nil {
			groups[first] = &shared{}
		}
		g := groups[first]
		g.at = append(g.at, k)
		g.dLow = append(g.dLow, MulScalar(model.Contract(dtype, dys[k], 1, a.Parts[2*i+1], 0), a.modules[i].Scale))
	}
	var dropped []*Node // what comes to x through elements that may have been dropped
	var low, stackedA *Node
	for i := range a.modules {
		g := groups[i]
		if g == nil {
			continue
		}
		dtype, dLow := model.Arithmetic(weights[g.at[0]].DType()), Concatenate(g.dLow, 1)
		if a.dropout == 0 && low == nil {
			low, stackedA = dLow, a.stacked(i)
		} else {
			dropped = append(dropped, a.drop(i, model.Contract(dtype, dLow, 1, a.stacked(i), 0)))
		}
		stacked := model.Contract(dtype, dLow, 0, a.drop(i, x), 0)
		row := 0
		for j, k := range g.at {
			end := row + a.modules[i+j].Rank
			dA[k], row = SliceAxis(stacked, 0, AxisRange(row, end)), end
		}
	}
	dx = model.PullProducts(dys, weights, low, stackedA)
	for _, n := range dropped {
		dx = Add(dx, n)
	}
	return dx, dA, dB
}

// together are the modules from first to end-1, which have the input of the i-th, and with which it shares products. With dropout
// every module has an input of its own.
func (a *Adapters) together(i int) (first, end int) {
	if a.dropout > 0 {
		return i, i + 1
	}
	first, end = i, i+1
	for first > 0 && a.modules[first-1].Input == a.modules[i].Input {
		first--
	}
	for end < len(a.modules) && a.modules[end].Input == a.modules[i].Input {
		end++
	}
	return first, end
}

// stacked is the A of all modules that share products with the i-th, the first of them: [ranks, in].
func (a *Adapters) stacked(i int) *Node {
	_, end := a.together(i)
	var list []*Node
	for ; i < end; i++ {
		list = append(list, a.Parts[2*i])
	}
	return Concatenate(list, 0)
}

// low is x·Aᵀ of the i-th module, times its scale: [rows, rank].
func (a *Adapters) low(i int, x *Node, dtype dtypes.DType) *Node {
	first, _ := a.together(i)
	all, ok := a.lows[first]
	if !ok {
		all = model.Contract(dtype, a.drop(i, x), 1, a.stacked(first), 1)
		a.lows[first] = all
	}
	at := 0
	for _, m := range a.modules[first:i] {
		at += m.Rank
	}
	return MulScalar(SliceAxis(all, 1, AxisRange(at, at+a.modules[i].Rank)), a.modules[i].Scale)
}

// drop is [drop] for an input of the i-th module, or its gradient.
func (a *Adapters) drop(i int, x *Node) *Node {
	if a.dropout == 0 {
		return x
	}
	return drop(x, a.key, uint32(i+1), a.dropout)
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
