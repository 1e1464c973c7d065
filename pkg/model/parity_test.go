package model_test

import (
	"math"
	"testing"

	"descant/pkg/device"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
)

// Tolerances of the parity cases (their README says how they were measured).
const (
	logitsLimit = 5e-5
	meanLimit   = 1e-5
)

func TestParityForward(t *testing.T) {
	for _, dev := range modeltest.Devices(t) {
		for _, c := range modeltest.Cases(t, "forward.safetensors") {
			t.Run(dev.Kind()+"/"+c.Name, func(t *testing.T) {
				t.Parallel()
				checkForward(t, dev, c)
			})
		}
	}
}

func checkForward(t *testing.T, dev *device.Device, c modeltest.Case) {
	want := c.Tensors(t, "forward.safetensors")
	m, err := model.Load(dev, c.Base())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	modeltest.Close(t, "inv_freq", m.Config.Rope.InvFreq, want.F32(t, "rope.inv_freq"), 1e-7)

	f := model.NewForward(m, model.NewCompiler(dev.Backend()), nil, nil)
	defer f.Close()
	right := want.Batch(t, "right")
	states, err := f.Hidden(right)
	if err != nil {
		t.Fatal(err)
	}
	defer model.FreeAll(states...)
	for i, name := range []string{"right.hidden.embed", "right.hidden.layer0"} {
		got, err := model.Download[float32](states[i])
		if err != nil {
			t.Fatal(err)
		}
		modeltest.Near(t, name, zeroPadding(got, right), want.F32(t, name), logitsLimit)
	}
	normed, logits, err := f.Head(states[len(states)-1], everyPlace(right))
	if err != nil {
		t.Fatal(err)
	}
	modeltest.Near(t, "right.hidden.final", zeroPadding(normed, right), want.F32(t, "right.hidden.final"), logitsLimit)
	modeltest.Near(t, "right.logits", zeroPadding(logits, right), want.F32(t, "right.logits"), logitsLimit)
	checkLoss(t, c, logits)

	left := want.Batch(t, "left")
	_, last, err := f.Logits(left, lastPlaces(left))
	if err != nil {
		t.Fatal(err)
	}
	modeltest.Near(t, "left.logits_last", last, want.F32(t, "left.logits_last"), logitsLimit)
}

// TestParityLong runs rows beyond the model's positions, where dynamic rope scaling stretches the frequencies.
func TestParityLong(t *testing.T) {
	for _, dev := range modeltest.Devices(t) {
		for _, c := range modeltest.Cases(t, "long_forward.safetensors") {
			t.Run(dev.Kind()+"/"+c.Name, func(t *testing.T) {
				t.Parallel()
				want := c.Tensors(t, "long_forward.safetensors")
				m, err := model.Load(dev, c.Base())
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				right := want.Batch(t, "right")
				if right.Width <= m.Config.MaxPositions {
					t.Fatalf("%d positions are none beyond the model's %d", right.Width, m.Config.MaxPositions)
				}
				modeltest.Close(t, "inv_freq", m.Config.Rope.For(right.Width).InvFreq, want.F32(t, "rope.inv_freq"), 1e-7)
				f := model.NewForward(m, model.NewCompiler(dev.Backend()), nil, nil)
				defer f.Close()
				_, logits, err := f.Logits(right, everyPlace(right))
				if err != nil {
					t.Fatal(err)
				}
				modeltest.Near(t, "right.logits", zeroPadding(logits, right), want.F32(t, "right.logits"), logitsLimit)
			})
		}
	}
}

// checkLoss derives the losses of loss.json from logits [rows·width, vocab] in float64.
func checkLoss(t *testing.T, c modeltest.Case, logits []float32) {
	var file struct {
		Variants map[string]struct {
			Labels   [][]int     `json:"labels"`
			TokenNLL [][]float32 `json:"token_nll"`
			Tokens   int         `json:"tokens"`
			Mean     float64     `json:"mean"`
		} `json:"variants"`
	}
	c.JSON(t, "loss.json", &file)
	if len(file.Variants) == 0 {
		t.Error("loss.json has no variants")
	}
	for name, v := range file.Variants {
		width := len(v.Labels[0])
		vocab := len(logits) / (len(v.Labels) * width)
		var sum float64
		tokens := 0
		for r, labels := range v.Labels {
			got := make([]float32, width)
			for i := 1; i < width; i++ {
				if labels[i] == -100 {
					continue
				}
				at := (r*width + i - 1) * vocab
				nll := negativeLogSoftmax(logits[at:at+vocab], labels[i])
				got[i] = float32(nll)
				sum += nll
				tokens++
			}
			modeltest.Near(t, name+".token_nll", got, v.TokenNLL[r], logitsLimit)
		}
		if tokens != v.Tokens {
			t.Errorf("%s: %d trained tokens, expected %d", name, tokens, v.Tokens)
		}
		modeltest.NearNumber(t, name+".mean", sum/float64(tokens), v.Mean, meanLimit)
	}
}

func negativeLogSoftmax(logits []float32, label int) float64 {
	top := math.Inf(-1)
	for _, l := range logits {
		top = max(top, float64(l))
	}
	sum := 0.0
	for _, l := range logits {
		sum += math.Exp(float64(l) - top)
	}
	return math.Log(sum) + top - float64(logits[label])
}

func zeroPadding(values []float32, b model.Batch) []float32 {
	width := len(values) / len(b.IDs)
	for i, ok := range b.Valid {
		if !ok {
			clear(values[i*width : (i+1)*width])
		}
	}
	return values
}

func everyPlace(b model.Batch) []int32 {
	places := make([]int32, len(b.IDs))
	for i := range places {
		places[i] = int32(i)
	}
	return places
}

func lastPlaces(b model.Batch) []int32 {
	places := make([]int32, b.Rows)
	for r := range places {
		places[r] = int32((r+1)*b.Width - 1)
	}
	return places
}
