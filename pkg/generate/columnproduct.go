package generate

import (
	"fmt"

	"descant/pkg/device"
	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// linear is x·W + b and, for every row of x, its adapter's part.
func (l *layerGraph) linear(module string, x, weight, bias *Node) *Node {
	if l.shape.mode == noAdapter {
		return l.product(module, x, weight, bias)
	}
	group, i := l.group(module)
	if l.parts[group] == nil {
		l.parts[group] = l.adapted(group, x)
	}
	return Add(l.product(module, x, weight, bias), l.parts[group][i])
}

// adapted gives for each module of a group what the adapters add to x·W, [rows·tokens, out]; and the product of the group's matrix, if a kernel computes both.
func (l *layerGraph) adapted(group int, x *Node) []*Node {
	modules := l.adapters.groups[group]
	in := []*Node{ConvertDType(x, l.adapters.rounded), l.ranges, l.in[groupName(modules)]}
	for _, p := range modules {
		in = append(in, l.in[p.Module+".B"])
	}
	if !l.kernels {
		return l.masked(l.in["start"], in)
	}
	name := joinedName(modules)
	matrix := l.in[name]
	if matrix == nil || matrix.Rank() != 3 || !l.fuses {
		return model.Call(fmt.Sprint(device.BGMV, group), in, func(in []*Node) []*Node { return l.masked(nil, in) })
	}
	results := model.Call(fmt.Sprint(device.Adapted, group), append([]*Node{matrix}, in...), func(in []*Node) []*Node {
		y := model.Contract(l.adapters.rounded, in[1], 1, model.Widen(model.Unpack(in[0])), 1)
		return append([]*Node{y}, l.masked(nil, in[1:])...)
	})
	l.products[name] = results[0]
	return results[1:]
}

// masked computes what [device.WithKernels] tells from the same inputs, in products for all rows and columns, or only for those of the slice
// that begins at start. Of x·A nothing is left outside of the columns of each row's adapter.
func (l *layerGraph) masked(start *Node, in []*Node) (parts []*Node) {
	x, ranges, bs := in[0], in[1], in[3:]
	rows, n := x.Shape().Dim(0), len(bs)
	a := l.slice(start, in[2], n)
	width := a.Shape().Dim(0) / n
	all := Reshape(model.Contract(l.adapters.rounded, x, 1, a, 1), rows, n, width)
	columns := Iota(x.Graph(), shapes.Make(dtypes.Int32, rows, width), 1)
	if start != nil {
		columns = Add(columns, start)
	}
	bound := func(i int) *Node {
		return BroadcastToDims(SliceAxis(ranges, 1, AxisElem(i)), rows, width)
	}
	mask := LogicalAnd(GreaterOrEqual(columns, bound(0)), LessThan(columns, bound(1)))
	// Selecting, not multiplying: an overflow in another adapter's columns must not become a NaN in this row. And not Zeros, which a graph
	// makes once for all its functions, so that main would find it in another one.
	nothing := Const(x.Graph(), float32(0))
	own := Where(BroadcastToDims(ExpandAxes(mask, 1), rows, n, width), all, BroadcastToDims(nothing, rows, n, width))
	for i, b := range bs {
		middle := Reshape(SliceAxis(own, 1, AxisElem(i)), rows, width)
		parts = append(parts, model.Contract(l.adapters.rounded, middle, 1, l.slice(start, b, 1), 0))
	}
	return parts
}

// slice is the part of an A or B, with the columns of n modules, that begins at start in each of them, or all of it, in the dtype of x.
func (l *layerGraph) slice(start, matrix *Node, n int) *Node {
	if start != nil {
		zero, other := ZerosLike(start), matrix.Shape().Dim(1)
		part := DynamicSlice(Reshape(matrix, n, l.adapters.columns, other), []*Node{zero, start, zero}, []int{n, l.width, other})
		matrix = Reshape(part, n*l.width, other)
	}
	return ConvertDType(matrix, l.adapters.rounded)
}
