package generate

import (
	"fmt"

	"descant/pkg/model"

	"github.com/gomlx/compute"
)

// stepInputs are the arrays that Go fills before a step of one shape of batch.
type stepInputs struct {
	ids      *model.Writable[int32]   // [rows, tokens]
	cos, sin *model.Writable[float32] // [rows, tokens, D/2]
	cached   *model.Writable[int32]   // [rows]
	rows     *model.Writable[int32]   // [rows]
	token    *model.Writable[int32]   // []
	ranges   *model.Writable[int32]   // [rows, 2]
	start    *model.Writable[int32]   // []
}

func newInputs(backend compute.Backend, plan layerPlan, b batchShape) (*stepInputs, error) {
	in := &stepInputs{}
	var err error
	integers := func(dims ...int) (w *model.Writable[int32]) {
		if err == nil {
			w, err = model.NewWritable[int32](backend, dims...)
		}
		return w
	}
	numbers := func(dims ...int) (w *model.Writable[float32]) {
		if err == nil {
			w, err = model.NewWritable[float32](backend, dims...)
		}
		return w
	}
	half := plan.config.HeadDim / 2
	in.ids, in.cached, in.rows, in.token = integers(b.rows, b.tokens), integers(b.rows), integers(b.rows), integers()
	in.ranges, in.start = integers(b.rows, 2), integers()
	in.cos, in.sin = numbers(b.rows, b.tokens, half), numbers(b.rows, b.tokens, half)
	if err != nil {
		in.free()
		return nil, fmt.Errorf("make room for the inputs of a step: %w", err)
	}
	return in, nil
}

// commit makes what was filled in visible to the programs.
func (in *stepInputs) commit(mode adapterMode) error {
	list := []interface{ Commit() error }{in.ids, in.cached, in.rows, in.token, in.cos, in.sin}
	if mode != noAdapter {
		list = append(list, in.ranges, in.start)
	}
	for _, w := range list {
		if err := w.Commit(); err != nil {
			return err
		}
	}
	return nil
}

func (in *stepInputs) free() {
	if in == nil {
		return
	}
	for _, w := range []interface{ Free() }{in.ids, in.cached, in.rows, in.token, in.cos, in.sin, in.ranges, in.start} {
		w.Free() // of nil, too
	}
}
