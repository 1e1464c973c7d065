package train

import (
	"math"
	"slices"
	"testing"

	"descant/pkg/device"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
)

// TestBestFit packs lengths: every item once, no bin too full, few bins, and the same again.
func TestBestFit(t *testing.T) {
	t.Parallel()
	if got := bestFit([]int{3, 7, 5, 5, 2, 8, 10}, 10); !slices.EqualFunc(got, [][]int{{6}, {5, 4}, {1, 0}, {2, 3}}, slices.Equal) {
		t.Errorf("bins %v", got)
	}
	sizes := make([]int, 2000)
	total := 0
	for i := range sizes {
		sizes[i] = 1 + int(mix(uint64(i))%400)
		total += sizes[i]
	}
	const capacity = 1000
	bins := bestFit(sizes, capacity)
	var seen []int
	for _, bin := range bins {
		room := capacity
		for _, item := range bin {
			room -= sizes[item]
		}
		if room < 0 {
			t.Fatalf("bin %v holds %d more than %d", bin, -room, capacity)
		}
		seen = append(seen, bin...)
	}
	slices.Sort(seen)
	if len(slices.Compact(seen)) != len(sizes) {
		t.Errorf("%d of %d items are packed", len(seen), len(sizes))
	}
	if least := (total + capacity - 1) / capacity; len(bins) > least+least/100+1 {
		t.Errorf("%d bins for %d tokens, %d would do", len(bins), total, least)
	}
	if !slices.EqualFunc(bins, bestFit(sizes, capacity), slices.Equal) {
		t.Error("the same sizes gave other bins")
	}
}

// TestPacked compares rows in a rectangle with the same rows end to end on a line, and packed, in every family: hidden
// states of every token, losses and gradients.
func TestPacked(t *testing.T) {
	forEach(t, "train.json", func(t *testing.T, dev *device.Device, c modeltest.Case) {
		e := loraEngine(t, dev, c, "adapter", adamW{})
		rows := sentences(9)
		apart, err := newBatches(rows, 0, 9, 1, 64, e.config.Vocab)
		if err != nil {
			t.Fatal(err)
		}
		packed, err := newBatches(rows, 0, 2, 1, 64, e.config.Vocab)
		if err != nil {
			t.Fatal(err)
		}
		packed.pack(48)
		one, two := apart.step(0), packed.step(0)
		if len(one) != 1 || len(two) != 1 || len(one[0].lanes) != 9 || len(two[0].lanes) != 2 || one[0].tokens != two[0].tokens {
			t.Fatalf("%d and %d micro-batches, of %d and %d lanes", len(one), len(two), len(one[0].lanes), len(two[0].lanes))
		}
		all := []*microBatch{rectangleOf(rows, 48), one[0], two[0]}
		a := states(t, e, all[0])
		for which, m := range all[1:] {
			b := states(t, e, m)
			for row := range rows {
				for i, v := range a[row] {
					if math.Abs(float64(v-b[row][i])) > 1e-5*max(1, math.Abs(float64(v))) {
						t.Fatalf("micro-batch %d, row %d, value %d: %g in a rectangle, %g on a line", which, row, i, v, b[row][i])
					}
				}
			}
		}
		flats := make([][][]float32, len(all))
		losses := make([]float64, len(all))
		for i, m := range all {
			if losses[i], err = e.accumulate(m, 1/float64(len(m.places)), 0); err != nil {
				t.Fatal(err)
			}
			losses[i] /= float64(len(m.places))
			flats[i] = download(t, e.layers, func(g *group) *model.Array { return g.gradient() })
			e.clearGradients()
		}
		for k := range all[1:] {
			modeltest.NearNumber(t, "loss", losses[k+1], losses[0], 1e-5)
			for i, flat := range flats[0] {
				modeltest.Close(t, "gradient", flats[k+1][i], flat, gradientLimit)
			}
		}
	})
}

// rectangleOf lays rows out one below the other.
func rectangleOf(rows table, width int) *microBatch {
	m := &microBatch{rows: len(rows), width: width, ids: make([]int32, len(rows)*width)}
	for i := range rows {
		ids, labels := rows.Row(i)
		m.put(i, ids, labels)
		m.index = append(m.index, i)
	}
	return m
}

// states are the last layer's outputs of each row of the dataset in a rectangle.
func states(t *testing.T, e *engine, m *microBatch) map[int][]float32 {
	t.Helper()
	p, err := e.forward(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.free()
	values, err := model.Download[float32](p.inputs[len(p.inputs)-1])
	if err != nil {
		t.Fatal(err)
	}
	hidden := e.config.Hidden
	rows := map[int][]float32{}
	for i, d := range m.documents {
		rows[m.index[i]] = values[d.start*hidden : (d.start+d.length)*hidden]
	}
	return rows
}

// TestAccumulation gives the same gradient for a batch as for its rows in micro-batches of unequal numbers of tokens.
func TestAccumulation(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 1)
	e := loraEngine(t, cfg.Device, modeltest.Cases(t, "train.json")[0], "adapter", adamW{})
	gradients := func(batch, accumulation int) [][]float32 {
		b, err := newBatches(sentences(7), 0, batch, accumulation, 64, e.config.Vocab)
		if err != nil {
			t.Fatal(err)
		}
		trained := 0
		for _, m := range b.step(0) {
			trained += len(m.places)
		}
		for _, m := range b.step(0) {
			if _, err := e.accumulate(m, 1/float64(trained), 0); err != nil {
				t.Fatal(err)
			}
		}
		defer e.clearGradients()
		return download(t, e.layers, func(g *group) *model.Array { return g.gradient() })
	}
	one, many := gradients(7, 1), gradients(2, 4)
	for i := range one {
		modeltest.Close(t, "gradient", many[i], one[i], gradientLimit)
	}
}

// TestResumePacked stops a packed run with dropout, NEFTune, LoRA+ and evaluations and goes on: the same bits. Without
// packing the rows meet in other steps.
func TestResumePacked(t *testing.T) {
	t.Parallel()
	cfg, _ := evaluated(t, 6, 2)
	cfg.Training.Packing, cfg.Training.PerDeviceTrainBatchSize, cfg.Training.GradientAccumulationSteps = true, 1, 2
	cfg.Training.MaxLength, cfg.Training.LoraDropout, cfg.Training.NEFTuneAlpha, cfg.Training.LoraPlusLRRatio = 32, 0.1, 5, 4
	cfg.Training.LoadBestModelAtEnd = true
	tokens := int64(0)
	cfg.OnStep = func(s Step) { tokens = max(tokens, s.Tokens) }
	whole, resumed := runAndResume(t, cfg, 3)
	compareEvaluations(t, whole, resumed)
	all := 0
	for _, row := range sentences(10) {
		all += len(row)
	}
	// 10 rows of 6 to 14 tokens fill four packs of 32: an epoch is two steps, six steps are three epochs.
	if tokens != int64(3*all) {
		t.Errorf("%d tokens in 6 steps, expected three epochs of %d", tokens, all)
	}
}
