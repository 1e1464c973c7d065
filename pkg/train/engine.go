package train

import (
	"fmt"
	"math"
	"slices"

	"descant/pkg/model"

	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// engine computes losses, gradients and updates of one model on one device.
type engine struct {
	config    *model.Config
	compiler  *model.Compiler
	target    target
	constants *constants
	optimizer adamW
	programs  map[string]*model.Program
	tables    map[int][2]*model.Array
	// checkpointing keeps only the input of every layer and computes the rest again (gradient checkpointing).
	checkpointing bool
	// noise is the alpha of NEFTune, 0 for none.
	noise float64

	// base holds the frozen weights; its embedding, norm and head are nil where they are trained.
	base *model.Model
	// layers are the trained groups of the layers, nil where a layer has none.
	layers []*group
	// embed, norm and head are set in full training; head only where it is not the embedding.
	embed, norm, head *group
}

// groups lists everything that is trained, in the order of a checkpoint.
func (e *engine) groups() []*group {
	var list []*group
	for _, g := range append(append([]*group{}, e.layers...), e.embed, e.norm, e.head) {
		if g != nil {
			list = append(list, g)
		}
	}
	return list
}

func (e *engine) close() {
	for _, g := range e.groups() {
		g.free()
	}
	e.constants.free()
	for _, p := range e.programs {
		p.Close()
	}
	for _, t := range e.tables {
		model.FreeAll(t[:]...)
	}
	if e.base != nil {
		e.base.Close()
	}
}

func (e *engine) embedding() *model.Array {
	if e.embed != nil {
		return e.embed.value
	}
	return e.base.Embed
}

func (e *engine) finalNorm() *model.Array {
	if e.norm != nil {
		return e.norm.value
	}
	return e.base.Norm
}

// output is the matrix of the head.
func (e *engine) output() *model.Array {
	switch {
	case e.head != nil:
		return e.head.value
	case e.embed != nil:
		return e.embed.value
	}
	return e.base.Head
}

// headGroup is the group that the head's gradient belongs to: the embedding where both are one.
func (e *engine) headGroup() *group {
	if e.head != nil {
		return e.head
	}
	return e.embed
}

// run compiles a program on first use and runs it. The key must name everything that the graph depends on
// beside the shapes of the inputs.
func (e *engine) run(key string, build func([]*Node) []*Node, inputs ...*model.Array) ([]*model.Array, error) {
	list := make([]shapes.Shape, len(inputs))
	name := key
	for i, in := range inputs {
		list[i] = in.Shape()
		name += "|" + in.Shape().String()
	}
	program, ok := e.programs[name]
	if !ok {
		var err error
		program, err = e.compiler.Compile(key, list, func(_ *Graph, in []*Node) []*Node { return build(in) })
		if err != nil {
			return nil, err
		}
		e.programs[name] = program
	}
	return program.Run(inputs...)
}

// rope gives the tables of angles for rows that start at position 0: [1, width, HeadDim/2].
func (e *engine) rope(width int) (cos, sin *model.Array, err error) {
	if t, ok := e.tables[width]; ok {
		return t[0], t[1], nil
	}
	positions := make([]int, width)
	for i := range positions {
		positions[i] = i
	}
	c, s := e.config.Rope.Tables(positions)
	half := len(e.config.Rope.InvFreq)
	if cos, err = model.Upload(e.compiler.Backend(), c, 1, width, half); err != nil {
		return nil, nil, err
	}
	if sin, err = model.Upload(e.compiler.Backend(), s, 1, width, half); err != nil {
		return nil, nil, err
	}
	e.tables[width] = [2]*model.Array{cos, sin}
	return cos, sin, nil
}

// passed is a micro-batch after its forward pass.
type passed struct {
	batch  *microBatch
	ids    *model.Array
	common [][]*model.Array // per layer: cos, sin, of a line segments, at, back or ranges, then key, frozen weights, flat
	keys   []*model.Array   // dropout keys, and the places of a line
	inputs []*model.Array   // x of every layer, and the last layer's output
	saved  [][]*model.Array // per layer
}

func (p *passed) free() {
	p.ids.Free()
	model.FreeAll(p.keys...)
	model.FreeAll(p.inputs...)
	for _, s := range p.saved {
		model.FreeAll(s...)
	}
}

// forward runs a micro-batch up to the last layer. seed keys its dropout.
func (e *engine) forward(b *microBatch, seed uint64) (p *passed, err error) {
	p = &passed{batch: b}
	defer func() {
		if err != nil {
			p.free()
			p = nil
		}
	}()
	backend := e.compiler.Backend()
	if p.ids, err = model.Upload(backend, b.ids, b.rows, b.width); err != nil {
		return p, err
	}
	shared, err := e.places(p)
	if err != nil {
		return p, err
	}
	out, err := e.run("embed", embedGraph, e.embedding(), p.ids)
	if err != nil {
		return p, err
	}
	p.inputs = append(p.inputs, out[0])
	if e.noise > 0 {
		if err := e.addNoise(p, seed); err != nil {
			return p, err
		}
	}
	for i := range e.config.Layers {
		common := slices.Clone(shared)
		if e.target.dropout() {
			key, err := model.Upload(backend, []uint32{uint32(mix(seed + uint64(i)))})
			if err != nil {
				return p, err
			}
			p.keys = append(p.keys, key)
			common = append(common, key)
		}
		common = append(common, e.target.frozen(i)...)
		if e.layers[i] != nil {
			common = append(common, e.layers[i].value)
		}
		p.common = append(p.common, common)
		out, err := e.forwardLayer(i, p.inputs[i], common)
		if err != nil {
			return p, fmt.Errorf("layer %d: %w", i, err)
		}
		p.inputs = append(p.inputs, out[0])
		p.saved = append(p.saved, out[1:])
	}
	return p, nil
}

// loss runs the head over the trained places, chunk by chunk. It gives the negative log likelihood of every
// trained token and the gradient of scale · Σ nll to the last layer's output.
func (e *engine) loss(p *passed, scale float64) (nll []float32, dx *model.Array, err error) {
	b := p.batch
	last := p.inputs[len(p.inputs)-1]
	dims := last.Shape().Dimensions
	dx, err = e.constants.get("zeros", nil, dims...)
	if err != nil {
		return nil, nil, err
	}
	shared := dx
	done := 0
	for _, rows := range chunks(len(b.places), e.headRows()) {
		n := min(rows, len(b.places)-done)
		h, err := e.headInput(last, b.places[done:done+n], b.labels[done:done+n], rows, scale)
		if err != nil {
			return nil, nil, err
		}
		values, drows, err := e.chunk(h, n)
		if err != nil {
			h.free()
			return nil, nil, err
		}
		nll = append(nll, values...)
		done += n
		out, err := e.run("spread", spreadGraph, dx, h.at, drows)
		drows.Free()
		h.free()
		if dx != shared {
			dx.Free()
		}
		if err != nil {
			return nil, nil, err
		}
		dx = out[0]
	}
	return nll, dx, nil
}

// headInput is a chunk of places on its way through the head.
type headInput struct {
	at, picked, labels, weights *model.Array
}

func (h *headInput) free() { model.FreeAll(h.at, h.picked, h.labels, h.weights) }

// headInput takes some places out of the last layer's output and fills them up to a number of rows.
func (e *engine) headInput(last *model.Array, places, labels []int32, rows int, scale float64) (h *headInput, err error) {
	backend := e.compiler.Backend()
	weights := make([]float32, rows)
	for i := range places {
		weights[i] = float32(scale)
	}
	fill := func(values []int32) []int32 {
		return append(append(make([]int32, 0, rows), values...), make([]int32, rows-len(values))...)
	}
	h = &headInput{}
	defer func() {
		if err != nil {
			h.free()
			h = nil
		}
	}()
	if h.at, err = model.Upload(backend, fill(places), rows, 1); err != nil {
		return h, err
	}
	if h.labels, err = model.Upload(backend, fill(labels), rows); err != nil {
		return h, err
	}
	if h.weights, err = model.Upload(backend, weights, rows); err != nil {
		return h, err
	}
	out, err := e.run("pick", pickGraph, last, h.at)
	if err != nil {
		return h, err
	}
	h.picked = out[0]
	return h, nil
}

// chunk runs the head for some places: their losses and the gradient of their rows.
func (e *engine) chunk(h *headInput, n int) (nll []float32, drows *model.Array, err error) {
	var out []*model.Array
	if e.norm == nil {
		out, err = frozenHead{e.config, true}.run(e, h)
	} else {
		out, err = e.run("head", func(in []*Node) []*Node { return trainedHead(e.config, in) },
			h.picked, e.finalNorm(), e.output(), h.labels, h.weights, e.norm.gradient(), e.headGroup().gradient())
	}
	if err != nil {
		return nil, nil, err
	}
	if e.norm != nil {
		e.norm.setGradient(out[2])
		e.headGroup().setGradient(out[3])
	}
	nll, err = model.Download[float32](out[0])
	out[0].Free()
	if err != nil {
		out[1].Free()
		return nil, nil, err
	}
	return nll[:n], out[1], nil
}

// forwardLayer gives a layer's output and, where the backward pass comes and nothing is to be computed again, what it
// starts from.
func (e *engine) forwardLayer(i int, x *model.Array, common []*model.Array) ([]*model.Array, error) {
	inputs := append([]*model.Array{x}, common...)
	if e.checkpointing || i < e.lowest() {
		return e.run("output "+e.target.signature(i), func(in []*Node) []*Node {
			return forwardLayer(e.target, i, in)[:1]
		}, inputs...)
	}
	return e.run("forward "+e.target.signature(i), func(in []*Node) []*Node {
		return forwardLayer(e.target, i, in)
	}, inputs...)
}

// again computes what a layer's backward pass starts from a second time, from the layer's input.
func (e *engine) again(p *passed, i int) (err error) {
	p.saved[i], err = e.run("again "+e.target.signature(i), func(in []*Node) []*Node {
		return forwardLayer(e.target, i, in)[1:]
	}, append([]*model.Array{p.inputs[i]}, p.common[i]...)...)
	return err
}

// lowest is the lowest layer that a gradient has to reach: nothing is trained below it.
func (e *engine) lowest() int {
	if e.embed != nil {
		return 0
	}
	for i, g := range e.layers {
		if g != nil {
			return i
		}
	}
	return e.config.Layers
}

// backward takes the gradient of the last layer's output down to the lowest trained layer and adds up the gradients of
// everything that is trained. It frees what the forward pass saved as it goes.
func (e *engine) backward(p *passed, dx *model.Array) (err error) {
	for i := e.config.Layers - 1; i >= e.lowest(); i-- {
		if dx, err = e.pull(p, i, dx); err != nil {
			return err
		}
	}
	return e.pullEmbedding(p, dx)
}

// pull takes the gradient of a layer's output down to its input, where something below is trained, and adds up that of what
// the layer trains. It takes over dx.
func (e *engine) pull(p *passed, i int, dx *model.Array) (*model.Array, error) {
	below := i > e.lowest() || e.embed != nil
	if e.checkpointing {
		if err := e.again(p, i); err != nil {
			dx.Free()
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	inputs := append([]*model.Array{dx, p.inputs[i]}, p.saved[i]...)
	inputs = append(inputs, p.common[i]...)
	if e.layers[i] != nil {
		inputs = append(inputs, e.layers[i].gradient())
	}
	out, err := e.run(fmt.Sprintf("backward %v %s", below, e.target.signature(i)), func(in []*Node) []*Node {
		return backwardLayer(e.target, i, below, in)
	}, inputs...)
	dx.Free()
	model.FreeAll(p.saved[i]...)
	p.inputs[i+1].Free()
	if err != nil {
		return nil, fmt.Errorf("layer %d: %w", i, err)
	}
	dx = nil
	if below {
		dx, out = out[0], out[1:]
	}
	if e.layers[i] != nil {
		e.layers[i].setGradient(out[0])
	}
	return dx, nil
}

// pullEmbedding adds the gradient of the first layer's input to that of the embedding, where it is trained. It takes over dx.
func (e *engine) pullEmbedding(p *passed, dx *model.Array) error {
	defer dx.Free()
	if e.embed == nil {
		return nil
	}
	out, err := e.run("embed backward", embedBackwardGraph, e.embed.gradient(), p.ids, dx)
	if err != nil {
		return err
	}
	e.embed.setGradient(out[0])
	return nil
}

// accumulate adds a micro-batch's gradient of scale · Σ nll to the groups and gives Σ nll.
func (e *engine) accumulate(b *microBatch, scale float64, seed uint64) (float64, error) {
	if len(b.places) == 0 {
		return 0, nil
	}
	p, err := e.forward(b, seed)
	if err != nil {
		return 0, err
	}
	defer p.free()
	nll, dx, err := e.loss(p, scale)
	if err != nil {
		return 0, err
	}
	if err := e.backward(p, dx); err != nil {
		return 0, err
	}
	return sum(nll), nil
}

// gradientNorm is the L2 norm of all gradients together.
func (e *engine) gradientNorm() (float64, error) {
	total := 0.0
	for _, g := range e.groups() {
		out, err := e.run("square sum", squareSumGraph, g.gradient())
		if err != nil {
			return 0, err
		}
		value, err := model.Download[float64](out[0])
		out[0].Free()
		if err != nil {
			return 0, err
		}
		total += value[0]
	}
	return math.Sqrt(total), nil
}

// update applies AdamW to all groups and drops their gradients. step counts from 1.
func (e *engine) update(step int, lr, clip float64) error {
	scalars, err := model.Upload(e.compiler.Backend(), e.optimizer.scalars(step, lr, clip), adamScalars)
	if err != nil {
		return err
	}
	defer scalars.Free()
	for _, g := range e.groups() {
		inputs := []*model.Array{g.value, g.gradient(), g.m, g.v, g.decay, scalars}
		if g.rate != nil {
			inputs = append(inputs, g.rate)
		}
		out, err := e.run("adamw", e.optimizer.graph, inputs...)
		if err != nil {
			return err
		}
		model.FreeAll(g.value, g.m, g.v)
		g.value, g.m, g.v = out[0], out[1], out[2]
		g.setGradient(nil)
	}
	return nil
}

// clearGradients drops gradients without an update.
func (e *engine) clearGradients() {
	for _, g := range e.groups() {
		g.setGradient(nil)
	}
}

func sum(values []float32) float64 {
	total := 0.0
	for _, v := range values {
		total += float64(v)
	}
	return total
}

// mix is the output function of SplitMix64: a bijection that looks random.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
