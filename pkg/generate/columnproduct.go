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
	return Add(y, model.Product(l.middle(module, x), l.columnsOfB(module)))
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
				all := Reshape(model.Product(x, l.columnsOfA(name, n)), rows, n, columns)
				mask := BroadcastToDims(ExpandAxes(l.mask, 1), rows, n, columns)
				// Selecting, not multiplying: an overflow in another adapter's columns must not become a NaN in this row.
				l.middles[name] = Where(mask, all, ZerosLike(all))
			}
			return Reshape(Slice(l.middles[name], AxisRange(), AxisRange(i, i+1)), l.mask.Shape().Dimensions...)
		}
	}
	panic("no projection is called " + module)
}

// columnsOfA is the A of n modules, or the slice of it that the graph is about.
func (l *layerGraph) columnsOfA(name string, n int) *Node {
	a, start := l.in[name], l.in["start"]
	if start == nil {
		return a
	}
	zero := ZerosLike(start)
	if a.DType() == dtypes.BFloat16 {
		in := a.Shape().Dim(1)
		a = DynamicSlice(Reshape(a, n, l.adapters.columns, in), []*Node{zero, start, zero}, []int{n, l.width, in})
		return Reshape(a, n*l.width, in)
	}
	in := a.Shape().Dim(0)
	a = DynamicSlice(Reshape(a, in, n, l.adapters.columns), []*Node{zero, zero, start}, []int{in, n, l.width})
	return Reshape(a, in, n*l.width)
}

// columnsOfB is the B of a module, or the slice of it that the graph is about.
func (l *layerGraph) columnsOfB(module string) *Node {
	b, start := l.in[module+".B"], l.in["start"]
	if start == nil {
		return b
	}
	zero := ZerosLike(start)
	if b.DType() == dtypes.BFloat16 {
		return DynamicSlice(b, []*Node{zero, start}, []int{b.Shape().Dim(0), l.width})
	}
	return DynamicSlice(b, []*Node{start, zero}, []int{l.width, b.Shape().Dim(1)})
}
