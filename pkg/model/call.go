package model

import (
	"fmt"

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
