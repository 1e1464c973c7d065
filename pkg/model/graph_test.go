package model

import (
	"math/rand/v2"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// normals makes f32 arrays of normally distributed numbers, the same in every run.
func normals(t testing.TB, backend compute.Backend, list []shapes.Shape) []*Array {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	var arrays []*Array
	t.Cleanup(func() { FreeAll(arrays...) })
	for _, s := range list {
		a, err := Fill(backend, func(values []float32) error {
			for i := range values {
				values[i] = float32(random.NormFloat64())
			}
			return nil
		}, s.Dimensions...)
		if err != nil {
			t.Fatal(err)
		}
		arrays = append(arrays, a)
	}
	return arrays
}

// computed gives the outputs of a graph, flat.
func computed(t *testing.T, c *Compiler, in []shapes.Shape, build func(*Graph, []*Node) []*Node, arrays []*Array) (all [][]float32) {
	t.Helper()
	program, err := c.Compile("products", in, build)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	results, err := program.Run(arrays...)
	if err != nil {
		t.Fatal(err)
	}
	defer FreeAll(results...)
	for _, r := range results {
		values, err := Download[float32](r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, values)
	}
	return all
}
