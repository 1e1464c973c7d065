package train

import (
	"fmt"
	"slices"

	"descant/pkg/model"

	. "github.com/gomlx/gomlx/core/graph"
)

// quiet is a target as it is evaluated: without dropout.
type quiet struct{ target }

func (quiet) dropout() bool { return false }

// bare is the base of an adapter without it. In full training the base is what the target holds before the first step.
type bare struct{ target }

func (bare) dropout() bool { return false }

func (t bare) size(layer int) int {
	if _, full := t.target.(*fullTarget); full {
		return t.target.size(layer)
	}
	return 0
}

func (t bare) signature(layer int) string { return "bare " + t.target.signature(layer) }

// evaluate gives the nll of every trained token of a micro-batch, without gradients and dropout.
func (e *engine) evaluate(b *microBatch) ([]float32, error) { return e.evaluateOn(b, quiet{e.target}) }

// evaluateOn is [engine.evaluate] on a target that knows no dropout. Nothing is kept for a backward pass.
func (e *engine) evaluateOn(b *microBatch, t target) ([]float32, error) {
	if len(b.places) == 0 {
		return nil, nil
	}
	p := &passed{batch: b}
	defer p.free()
	var err error
	if p.ids, err = model.Upload(e.compiler.Backend(), b.ids, b.rows, b.width); err != nil {
		return nil, err
	}
	places, err := e.places(p)
	if err != nil {
		return nil, err
	}
	out, err := e.run("embed", embedGraph, e.embedding(), p.ids)
	if err != nil {
		return nil, err
	}
	x := out[0]
	for i := range e.config.Layers {
		inputs := slices.Concat([]*model.Array{x}, places, t.frozen(i))
		if t.size(i) > 0 {
			inputs = append(inputs, e.layers[i].value)
		}
		out, err := e.run("evaluate "+t.signature(i), func(in []*Node) []*Node { return forwardLayer(t, i, in)[:1] }, inputs...)
		x.Free()
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		x = out[0]
	}
	defer x.Free()
	return e.lossOnly(x, b)
}

// lossOnly runs the head over the trained places without their gradients.
func (e *engine) lossOnly(x *model.Array, b *microBatch) (all []float32, err error) {
	done := 0
	for _, rows := range chunks(len(b.places), e.headRows()) {
		n := min(rows, len(b.places)-done)
		h, err := e.headInput(x, b.places[done:done+n], b.labels[done:done+n], rows, 1)
		if err != nil {
			return nil, err
		}
		out, err := frozenHead{e.config, false}.run(e, h)
		h.free()
		if err != nil {
			return nil, err
		}
		nll, err := model.Download[float32](out[0])
		out[0].Free()
		if err != nil {
			return nil, err
		}
		all = append(all, nll[:n]...)
		done += n
	}
	return all, nil
}
