package generate

import (
	"descant/pkg/model"

	. "github.com/gomlx/gomlx/core/graph"
)

// linear is x·W + b and, for every row of x, its adapter's part.
func (l *layerGraph) linear(module string, x, weight, bias *Node) *Node {
	y := l.product(module, x, weight, bias)
	if l.mask == nil {
		return y
	}
	columns, _ := l.adapters.axes()
	return Add(y, model.Product(l.middle(module, x), l.slice(l.in[module+".B"], 1, columns)))
}

// middle is x·A with nothing outside of the columns of each row's adapter: [rows, columns]. The modules that have x in common
// have one product.
func (l *layerGraph) middle(module string, x *Node) *Node {
	for _, group := range l.adapters.groups {
		for i, p := range group {
			if p.Module != module {
				continue
			}
			name, n := groupName(group), len(group)
			if l.middles[name] == nil {
				rows, columns := l.mask.Shape().Dim(0), l.mask.Shape().Dim(1)
				_, axis := l.adapters.axes()
				all := Reshape(model.Product(x, l.slice(l.in[name], n, axis)), rows, n, columns)
				mask := BroadcastToDims(ExpandAxes(l.mask, 1), rows, n, columns)
				// Selecting, not multiplying: an overflow in another adapter's columns must not become a NaN in this row.
				l.middles[name] = Where(mask, all, ZerosLike(all))
			}
			return Reshape(Slice(l.middles[name], AxisRange(), AxisRange(i, i+1)), l.mask.Shape().Dimensions...)
		}
	}
	panic("no projection is called " + module)
}

// slice is the part of an A or B, which holds the columns of n modules on an axis, that the graph is about: all of it, or the columns
// of one adapter.
func (l *layerGraph) slice(matrix *Node, n, axis int) *Node {
	start := l.in["start"]
	if start == nil {
		return matrix
	}
	zero, columns, width := ZerosLike(start), l.adapters.columns, l.width
	if axis == 0 {
		other := matrix.Shape().Dim(1)
		part := DynamicSlice(Reshape(matrix, n, columns, other), []*Node{zero, start, zero}, []int{n, width, other})
		return Reshape(part, n*width, other)
	}
	other := matrix.Shape().Dim(0)
	part := DynamicSlice(Reshape(matrix, other, n, columns), []*Node{zero, zero, start}, []int{other, n, width})
	return Reshape(part, other, n*width)
}
