package train

import (
	"fmt"

	"descant/pkg/model"

	"github.com/gomlx/compute"
)

// group is one array of trained parameters with its gradient and the state of AdamW. All of its arrays have
// the same shape.
type group struct {
	// name is how the group is called in a checkpoint: "layer.0", "embed", "norm", "head".
	name string
	// value, m and v are parameters, first and second moment.
	value, m, v *model.Array
	// grad is the gradient of the step so far; nil before the first micro-batch.
	grad *model.Array
	// decay is 1 where weight decay applies, 0 elsewhere. It may be shared and is not owned.
	decay *model.Array
	// rate are the factors on the learning rate, nil where all are 1. It may be shared and is not owned.
	rate *model.Array
	// zeros is the gradient before the first micro-batch. It may be shared and is not owned.
	zeros *model.Array
}

// gradient is what a micro-batch adds to.
func (g *group) gradient() *model.Array {
	if g.grad == nil {
		return g.zeros
	}
	return g.grad
}

// setGradient replaces the gradient.
func (g *group) setGradient(a *model.Array) {
	g.grad.Free()
	g.grad = a
}

func (g *group) free() { model.FreeAll(g.value, g.m, g.v, g.grad) }

// constants makes arrays of zeros and of decay masks once per size.
type constants struct {
	backend compute.Backend
	arrays  map[string]*model.Array
}

func newConstants(backend compute.Backend) *constants {
	return &constants{backend: backend, arrays: map[string]*model.Array{}}
}

// get makes the array on first use.
func (c *constants) get(name string, fill func([]float32), dims ...int) (*model.Array, error) {
	key := fmt.Sprint(name, dims)
	if a, ok := c.arrays[key]; ok {
		return a, nil
	}
	a, err := model.Fill(c.backend, func(values []float32) error {
		clear(values)
		if fill != nil {
			fill(values)
		}
		return nil
	}, dims...)
	if err != nil {
		return nil, err
	}
	c.arrays[key] = a
	return a, nil
}

func (c *constants) free() {
	for _, a := range c.arrays {
		a.Free()
	}
}

// newGroup makes a group with moments of zero. mask fills the decay mask, nil meaning 1 everywhere; maskName
// tells masks of the same size apart.
func newGroup(c *constants, name string, value *model.Array, maskName string, mask func([]float32)) (*group, error) {
	dims := value.Shape().Dimensions
	if mask == nil {
		mask = func(values []float32) {
			for i := range values {
				values[i] = 1
			}
		}
	}
	g := &group{name: name, value: value}
	var err error
	if g.zeros, err = c.get("zeros", nil, dims...); err != nil {
		return nil, err
	}
	if g.decay, err = c.get("decay "+maskName, mask, dims...); err != nil {
		return nil, err
	}
	zero := func(values []float32) error { clear(values); return nil }
	if g.m, err = model.Fill(c.backend, zero, dims...); err != nil {
		return nil, err
	}
	g.v, err = model.Fill(c.backend, zero, dims...)
	return g, err
}
