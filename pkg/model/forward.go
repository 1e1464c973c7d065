package model

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Patch changes the linear layers of a model from outside. Its parameters travel as one flat float32 array
// per layer.
type Patch interface {
	// Signature names the computation of a layer: layers with equal signatures share a program. It is empty
	// for a layer that is not changed.
	Signature(layer int) string
	// Size is the number of parameters of a layer.
	Size(layer int) int
	// Linear builds the layer's linear map from its flat parameters [Size].
	Linear(layer int, params *Node) Linear
}

// Batch is a rectangle of tokens: rows padded to one width.
type Batch struct {
	Rows, Width int
	// IDs are the tokens [Rows·Width]; what stands at padded places does not matter.
	IDs []int32
	// Positions are those of the tokens; nil means 0 … Width-1 in every row.
	Positions []int
	// Valid marks the places that hold a token; nil means that padding, if any, is on the right, where no
	// token looks at it.
	Valid []bool
}

// Forward runs a model layer by layer without a key/value cache, for checks and evaluation.
type Forward struct {
	model    *Model
	compiler *Compiler
	patch    Patch
	params   []*Array
	programs map[string]*Program
}

// NewForward prepares forward passes of a model. patch with its parameters for each layer (entries of layers
// that are not changed may be nil) is optional.
func NewForward(m *Model, c *Compiler, patch Patch, params []*Array) *Forward {
	return &Forward{model: m, compiler: c, patch: patch, params: params, programs: map[string]*Program{}}
}

// Close frees the compiled programs; model and parameters remain.
func (f *Forward) Close() {
	for _, p := range f.programs {
		p.Close()
	}
}

// Hidden gives the residual stream [Rows, Width, hidden] after the embedding (index 0) and after every layer.
// The caller frees the arrays.
func (f *Forward) Hidden(b Batch) (states []*Array, err error) {
	defer func() {
		if err != nil {
			FreeAll(states...)
			states = nil
		}
	}()
	in, err := f.inputs(b)
	if err != nil {
		return nil, err
	}
	defer FreeAll(in...)
	ids, cos, sin, valid := in[0], in[1], in[2], in[3]
	x, err := f.embed(ids)
	if err != nil {
		return nil, err
	}
	states = append(states, x)
	for i := range f.model.Layers {
		x, err := f.layer(i, states[i], cos, sin, valid)
		if err != nil {
			return states, fmt.Errorf("layer %d: %w", i, err)
		}
		states = append(states, x)
	}
	return states, nil
}

// embed looks up the ids [rows, width].
func (f *Forward) embed(ids *Array) (*Array, error) {
	program, err := f.program("embed", []*Array{f.model.Embed, ids}, func(_ *Graph, in []*Node) []*Node {
		return []*Node{Embed(in[0], in[1])}
	})
	if err != nil {
		return nil, err
	}
	out, err := program.Run(f.model.Embed, ids)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

func (f *Forward) inputs(b Batch) ([]*Array, error) {
	positions := b.Positions
	if positions == nil {
		for range b.Rows {
			for t := range b.Width {
				positions = append(positions, t)
			}
		}
	}
	valid := b.Valid
	if valid == nil {
		valid = make([]bool, len(b.IDs))
		for i := range valid {
			valid[i] = true
		}
	}
	backend := f.compiler.Backend()
	// As in the reference, the longest row of a batch decides for all.
	cos, sin := f.model.Config.Rope.For(1 + slices.Max(positions)).Tables(positions)
	half := len(f.model.Config.Rope.InvFreq)
	arrays := make([]*Array, 4)
	errs := make([]error, 4)
	arrays[0], errs[0] = Upload(backend, b.IDs, b.Rows, b.Width)
	arrays[1], errs[1] = Upload(backend, cos, b.Rows, b.Width, half)
	arrays[2], errs[2] = Upload(backend, sin, b.Rows, b.Width, half)
	arrays[3], errs[3] = Upload(backend, valid, b.Rows, b.Width)
	for _, err := range errs {
		if err != nil {
			FreeAll(arrays...)
			return nil, err
		}
	}
	return arrays, nil
}

// layer runs one decoder layer.
func (f *Forward) layer(i int, x, cos, sin, valid *Array) (*Array, error) {
	inputs := append([]*Array{x, cos, sin, valid}, f.model.Layers[i]...)
	signature := ""
	if f.patch != nil {
		signature = f.patch.Signature(i)
	}
	if signature != "" {
		inputs = append(inputs, f.params[i])
	}
	window := f.model.Config.Window(i)
	program, err := f.program(fmt.Sprintf("layer %s window %d", signature, window), inputs, func(_ *Graph, in []*Node) []*Node {
		weights, rest := f.model.Config.Bind(in[4:])
		var linear Linear
		if signature != "" {
			linear = f.patch.Linear(i, rest[0])
		}
		block := NewBlock(f.model.Config, weights, linear)
		return []*Node{block.Forward(in[0], in[1], in[2], PaddedMask(in[3], window))}
	})
	if err != nil {
		return nil, err
	}
	out, err := program.Run(inputs...)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// Logits gives final-norm states [rows, hidden] and logits [rows, vocab] of the tokens at the flat places
// (row·Width + column) of a batch.
func (f *Forward) Logits(b Batch, places []int32) (normed, logits []float32, err error) {
	states, err := f.Hidden(b)
	if err != nil {
		return nil, nil, err
	}
	defer FreeAll(states...)
	return f.Head(states[len(states)-1], places)
}

// Head applies final norm and head to places of the last residual stream.
func (f *Forward) Head(x *Array, places []int32) (normed, logits []float32, err error) {
	at, err := Upload(f.compiler.Backend(), places, len(places), 1)
	if err != nil {
		return nil, nil, err
	}
	defer at.Free()
	inputs := []*Array{x, at, f.model.Norm, f.model.Head}
	cfg := f.model.Config
	program, err := f.program("head", inputs, func(_ *Graph, in []*Node) []*Node {
		dims := in[0].Shape().Dimensions
		rows := Gather(Reshape(in[0], dims[0]*dims[1], dims[2]), in[1])
		return []*Node{RMSNorm(rows, in[2], cfg.Eps), Logits(cfg, rows, in[2], in[3])}
	})
	if err != nil {
		return nil, nil, err
	}
	out, err := program.Run(inputs...)
	if err != nil {
		return nil, nil, err
	}
	defer FreeAll(out...)
	if normed, err = Download[float32](out[0]); err != nil {
		return nil, nil, err
	}
	logits, err = Download[float32](out[1])
	return normed, logits, err
}

// program compiles a graph once per name and shapes of its inputs.
func (f *Forward) program(name string, inputs []*Array, build func(*Graph, []*Node) []*Node) (*Program, error) {
	shapesOf := make([]shapes.Shape, len(inputs))
	key := name
	for i, in := range inputs {
		if in == nil {
			return nil, fmt.Errorf("%s: input %d is missing", name, i)
		}
		shapesOf[i] = in.Shape()
		key += in.Shape().String()
	}
	if p, ok := f.programs[key]; ok {
		return p, nil
	}
	p, err := f.compiler.Compile(name, shapesOf, build)
	if err != nil {
		return nil, err
	}
	f.programs[key] = p
	return p, nil
}

// Bind names the first inputs of a layer's graph, which are its weights in the order of
// [Config.LayerTensors], and returns the remaining inputs.
func (c *Config) Bind(in []*Node) (weights map[string]*Node, rest []*Node) {
	tensors := c.LayerTensors()
	weights = make(map[string]*Node, len(tensors))
	for i, t := range tensors {
		weights[t.Name] = in[i]
	}
	return weights, in[len(tensors):]
}

// LayerShapes are the shapes of a layer's weights in memory, in the order of [Config.LayerTensors].
func (c *Config) LayerShapes() []shapes.Shape {
	var list []shapes.Shape
	for _, t := range c.LayerTensors() {
		list = append(list, shapes.Make(dtypes.Float32, t.Memory()...))
	}
	return list
}
