package generate

import (
	"errors"
	"fmt"

	"descant/pkg/lora"
	"descant/pkg/model"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/shapes"
)

// columnShapes are the matrices of the adapters in a layer: for each of model.Config.SharedInputs one A for all its modules, for
// each module one B, so that the values of a column lie together. Every module has the same number of columns, 0 without adapters.
//
//	A [modules·columns, in]  B [columns, out]
type columnShapes struct {
	dtype dtypes.DType
	// rounded is what x and x·A are rounded to before they are multiplied: bf16 only if everything is, otherwise f32, which is nothing.
	rounded dtypes.DType
	columns int
	groups  [][]model.Projection
}

// each calls f for every matrix of a layer, in the order of the graph's parameters: the A of a group, then its Bs.
func (c columnShapes) each(f func(name string, shape shapes.Shape)) {
	for _, group := range c.groups {
		f(groupName(group), shapes.Make(c.dtype, len(group)*c.columns, group[0].In))
		for _, p := range group {
			f(p.Module+".B", shapes.Make(c.dtype, c.columns, p.Out))
		}
	}
}

// groupName is that of the A of modules with one input.
func groupName(group []model.Projection) string { return group[0].Module + ".A" }

// adapterMemory holds the columns of all layers. Only the loop touches it, between two steps.
type adapterMemory struct {
	columnShapes
	layers [][]cells // in the order of columnShapes.each
}

func newAdapterMemory(backend compute.Backend, layers int, c columnShapes) (*adapterMemory, error) {
	m := &adapterMemory{columnShapes: c}
	if c.columns == 0 {
		return m, nil
	}
	for range layers {
		var list []cells
		var err error
		c.each(func(_ string, shape shapes.Shape) {
			if err == nil {
				var one cells
				if one, err = newCells(backend, shape); err == nil {
					list = append(list, one)
				}
			}
		})
		m.layers = append(m.layers, list)
		if err != nil {
			m.free()
			return nil, fmt.Errorf("make room for adapters: %w", err)
		}
	}
	return m, nil
}

// inputs lists the arrays of a layer in the order of the graph's parameters.
func (m *adapterMemory) inputs(layer int) []*model.Array {
	var list []*model.Array
	if m.columns > 0 {
		for _, one := range m.layers[layer] {
			list = append(list, one.array())
		}
	}
	return list
}

// write fills the columns of an adapter in one layer: all of them, zeros where it has no weights.
func (m *adapterMemory) write(layer int, at *adapter, weights *lora.Adapter) error {
	list := m.layers[layer]
	for _, group := range m.groups {
		a := list[0]
		for i, p := range group {
			b := list[1+i]
			var module lora.Module // of rank 0 where there is none
			for _, candidate := range weights.Layers[layer] {
				if candidate.Local == p.Module {
					module = candidate
				}
			}
			m.place(a, b, p, i*m.columns, at, module, weights.Flats[layer])
			if err := b.commit(); err != nil {
				return fmt.Errorf("load adapter %q: %w", at.key, err)
			}
		}
		if err := a.commit(); err != nil {
			return fmt.Errorf("load adapter %q: %w", at.key, err)
		}
		list = list[1+len(group):]
	}
	return nil
}

// place writes the matrices of a module, A [rank, in] and B [out, rank], into the columns of an adapter: of a, in which those of
// the module begin at column first, and of b; the scale goes into b.
func (c columnShapes) place(a, b cells, p model.Projection, first int, at *adapter, module lora.Module, flat []float32) {
	for column := at.from; column < at.to; column++ {
		r := column - at.from
		for i := range p.In {
			var v float32
			if r < module.Rank {
				v = flat[module.A+r*p.In+i]
			}
			a.put(first+column, i, v)
		}
		for o := range p.Out {
			var v float32
			if r < module.Rank {
				v = float32(float64(flat[module.B+o*module.Rank+r]) * module.Scale)
			}
			b.put(column, o, v)
		}
	}
}

func (m *adapterMemory) free() {
	for _, list := range m.layers {
		for _, one := range list {
			one.free()
		}
	}
}

// cells is a writable matrix of either type.
type cells struct {
	width int // values of a row
	f32   *model.Writable[float32]
	bf16  *model.Writable[bfloat16.BFloat16]
}

func newCells(backend compute.Backend, shape shapes.Shape) (c cells, err error) {
	c.width = shape.Dim(1)
	switch shape.DType {
	case dtypes.Float32:
		c.f32, err = model.NewWritable[float32](backend, shape.Dimensions...)
	case dtypes.BFloat16:
		c.bf16, err = model.NewWritable[bfloat16.BFloat16](backend, shape.Dimensions...)
	default:
		err = errors.New("adapters are held in f32 or bf16, not " + shape.DType.String())
	}
	return c, err
}

func (c cells) array() *model.Array {
	if c.f32 != nil {
		return c.f32.Array()
	}
	return c.bf16.Array()
}

// put sets a value, rounded to the nearest in bf16.
func (c cells) put(row, column int, v float32) {
	if at := row*c.width + column; c.f32 != nil {
		c.f32.Values()[at] = v
	} else {
		c.bf16.Values()[at] = bfloat16.FromFloat32(v)
	}
}

func (c cells) commit() error {
	if c.f32 != nil {
		return c.f32.Commit()
	}
	return c.bf16.Commit()
}

func (c cells) free() {
	c.f32.Free()
	c.bf16.Free()
}
