package generate

import (
	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// linear is x·W + b and, for every row of x, its adapter's part.
func (l *layerGraph) linear(module string, x, weight, bias *Node) *Node {
	y := l.product(module, x, weight, bias)
	if l.mask == nil {
		return y
	}
	return Add(y, l.narrow(l.middle(module, x), l.slice(l.in[module+".B"], 1, 0), 0))
}

// middle is x·A with nothing outside of the columns of each row's adapter: [rows, columns]. The modules that have x in common
// have one product.
func (l *layerGraph) middle(module string, x *Node) *Node {
	place, i := l.group(module)
	group := l.adapters.groups[place]
	name, n := groupName(group), len(group)
	if l.middles[name] == nil {
		rows, columns := l.mask.Shape().Dim(0), l.mask.Shape().Dim(1)
		inputs, axis := l.adapters.axes()
		all := Reshape(l.narrow(x, l.slice(l.in[name], n, axis), inputs), rows, n, columns)
		mask := BroadcastToDims(ExpandAxes(l.mask, 1), rows, n, columns)
		// Selecting, not multiplying: an overflow in another adapter's columns must not become a NaN in this row.
		l.middles[name] = Where(mask, all, ZerosLike(all))
	}
	return Reshape(Slice(l.middles[name], AxisRange(), AxisRange(i, i+1)), l.mask.Shape().Dimensions...)
}

// narrow is the product of x [rows, k] with a matrix of the adapters, which has its k inputs on an axis.
func (l *layerGraph) narrow(x, matrix *Node, axis int) *Node {
	dtype := l.adapters.dtype
	if x.Shape().Dim(0) == 1 {
		// For a vector XLA's f32 kernels take half the time of those in bf16, with the same products.
		x, matrix, dtype = model.Through(dtype, x), ConvertDType(matrix, dtypes.Float32), dtypes.Float32
	}
	return model.Contract(dtype, x, 1, matrix, axis)
}

// slice is the part of an A or B, which has the columns of n modules on an axis, that the graph is about: all of it, or the columns
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
