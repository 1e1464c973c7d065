package model

import (
	"fmt"
	"math"
	"strings"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// functions is the key of those of a graph that [Call] has made, by name.
type functions struct{}

// Call calls a function of the graph, which it makes of a body when a function of that name is first called. Those whose names
// [device.WithKernels] knows are computed by its kernels.
func Call(name string, in []*Node, body func(in []*Node) []*Node) []*Node {
	g := in[0].Graph()
	all, _ := g.State(functions{}).(map[string]*Function)
	if all == nil {
		all = map[string]*Function{}
		g.AttachState(functions{}, all)
	}
	if all[name] == nil {
		all[name] = NewFunction(g, name, func(g *Graph) []*Node {
			var parameters []*Node
			for i, n := range in {
				parameters = append(parameters, Parameter(g, fmt.Sprint("in", i), n.Shape()))
			}
			return body(parameters)
		})
	}
	return all[name].Call(in...)
}

// CallKernel calls a kernel of [device.WithKernels] that computes what graphs here have no other way for. A name begins those of its functions.
func CallKernel(name string, in []*Node, results ...shapes.Shape) []*Node {
	return Call(nameOf(name, in), in, func(in []*Node) []*Node {
		// Not what the kernel computes: go-xla has the reductions of a graph in one function only. The kernel takes the place of this body; if it
		// ever did not, nobody could overlook it.
		var out []*Node
		for _, shape := range results {
			out = append(out, BroadcastToDims(Const(in[0].Graph(), float32(math.NaN())), shape.Dimensions...))
		}
		return out
	})
}

// nameOf is a name of the function that takes such nodes.
func nameOf(name string, in []*Node) string {
	for _, n := range in {
		name += fmt.Sprintf("_%s_%d", n.DType(), n.Shape().Dimensions)
	}
	return strings.NewReplacer("[", "", "]", "", " ", "x").Replace(name)
}
