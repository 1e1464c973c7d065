package train

import (
	"testing"

	"descant/pkg/device"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
)

// TestChunkedLoss takes the loss and its gradient of all trained places at once, and of a few at a time: each token's
// loss and the sum of the gradients must agree to 1e-6. Places that are not trained get no gradient.
func TestChunkedLoss(t *testing.T) {
	t.Parallel()
	dev := open(t, device.Go)
	c := modeltest.Cases(t, "train.json")[0]
	e := loraEngine(t, dev, c, "adapter", adamW{})
	var b microBatch
	b.rows, b.width = 2, 24
	b.ids = make([]int32, b.rows*b.width)
	for r := range b.rows {
		ids, labels := make([]int32, b.width), make([]int32, b.width)
		for i := range ids {
			ids[i], labels[i] = int32(3+(7*i+r)%40), ignore
			if i%3 != 0 {
				labels[i] = ids[i]
			}
		}
		b.put(r, ids, labels)
	}
	p, err := e.forward(&b, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.free()
	const scale = 0.125
	wholeNLL, whole := lossOf(t, e, p, scale)

	var nll []float32
	sum := make([]float32, len(whole))
	for at := 0; at < len(b.places); at += 5 {
		end := min(at+5, len(b.places))
		part := *p
		part.batch = &microBatch{rows: b.rows, width: b.width, ids: b.ids, places: b.places[at:end], labels: b.labels[at:end]}
		values, dx := lossOf(t, e, &part, scale)
		nll = append(nll, values...)
		for i, v := range dx {
			sum[i] += v
		}
	}
	modeltest.Near(t, "nll", nll, wholeNLL, 1e-6)
	modeltest.Near(t, "gradient", sum, whole, 1e-6)
	trained := map[int32]bool{}
	for _, place := range b.places {
		trained[place] = true
	}
	hidden := e.config.Hidden
	for place := range int32(b.rows * b.width) {
		row := whole[int(place)*hidden : (int(place)+1)*hidden]
		zero := true
		for _, v := range row {
			zero = zero && v == 0
		}
		if zero == trained[place] {
			t.Errorf("place %d: trained %v, gradient zero %v", place, trained[place], zero)
		}
	}
}

func lossOf(t *testing.T, e *engine, p *passed, scale float64) (nll, dx []float32) {
	t.Helper()
	nll, gradient, err := e.loss(p, scale)
	if err != nil {
		t.Fatal(err)
	}
	defer gradient.Free()
	dx, err = model.Download[float32](gradient)
	if err != nil {
		t.Fatal(err)
	}
	return nll, dx
}
