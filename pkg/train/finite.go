package train

import (
	"errors"
	"math"

	"descant/pkg/model"
)

// located is implemented by rows that know their place in the dataset; *dataset.Shards do.
type located interface {
	Index(i int) int
	// Line is 0 where it is not known.
	Line(i int) int
	// Part is the number of the dataset among several, or -1 where it is not known.
	Part(i int) int
}

// places are the places in the dataset of the rows of micro-batches, in their order.
func (b *batches) places(micro ...*microBatch) []Place {
	var list []Place
	for _, m := range micro {
		for _, i := range m.index {
			at := Place{Row: i}
			if rows, ok := b.rows.(located); ok {
				at = Place{Row: rows.Index(i), Line: rows.Line(i), Part: rows.Part(i)}
			}
			list = append(list, at)
		}
	}
	return list
}

// locate adds step and rows to a *NotFiniteError about updated values: what made them so is the last step.
func (r *run) locate(err error) error {
	var bad *NotFiniteError
	if errors.As(err, &bad) && bad.Step == 0 && r.state.Step > 0 {
		bad.Step, bad.Rows = r.state.Step, r.batches.places(r.batches.step(r.state.Step-1)...)
	}
	return err
}

// finite returns a *NotFiniteError without a step if a trained parameter is NaN or infinite.
func (e *engine) finite() error {
	for _, g := range e.groups() {
		values, err := model.Download[float32](g.value)
		if err == nil {
			err = checkFinite(values)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkFinite looks for a value that is NaN or infinite.
func checkFinite(values []float32) error {
	for _, v := range values {
		if notFinite(float64(v)) {
			return &NotFiniteError{What: "largest updated value", Value: float64(v)}
		}
	}
	return nil
}

func notFinite(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) }
