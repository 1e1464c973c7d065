package train

import (
	"slices"
	"strings"
	"testing"

	"descant/pkg/device"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
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

// TestFrozenHead runs the loss piece by piece of the vocabulary and as [trainedHead] does, in both dtypes of the head, and with pieces in the memory of the
// head as with copied ones: the same bits.
func TestFrozenHead(t *testing.T) {
	t.Parallel()
	const rows, hidden, vocab = 1024, 8, 50_000 // three pieces, the last of which is narrower
	if piece := pieceOf(rows, vocab); piece >= vocab || vocab%piece == 0 {
		t.Fatalf("pieces of %d words", piece)
	}
	dev := open(t, device.XLA)
	values := func(n int, spread float32) []float32 {
		list := make([]float32, n)
		for i := range list {
			list[i] = spread * (float32(mix(uint64(i))>>40)/(1<<23) - 1)
		}
		return list
	}
	labels, weights := make([]int32, rows), make([]float32, rows)
	for i := range labels {
		labels[i], weights[i] = int32(mix(uint64(i))%vocab), float32(i%3) // every third only fills the chunk
	}
	labels[1] = vocab - 1
	var inputs []*model.Array
	keep := func(a *model.Array, err error) {
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, a)
	}
	// The logits reach ±30, so that the largest one moves from piece to piece.
	keep(model.Upload(dev.Backend(), values(rows*hidden, 1), rows, hidden))
	keep(model.Upload(dev.Backend(), values(hidden, 3), hidden))
	keep(model.Upload(dev.Backend(), values(vocab*hidden, 2), vocab, hidden))
	keep(model.Upload(dev.Backend(), labels, rows))
	keep(model.Upload(dev.Backend(), weights, rows))
	t.Cleanup(func() { model.FreeAll(inputs...) })
	shared, err := model.Fill(dev.Backend(), func(out []float32) error {
		copy(out, values(vocab*hidden, 2))
		return nil
	}, vocab, hidden)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(shared.Free)
	cfg := &model.Config{Eps: 1e-6}
	compiler := model.NewFastCompiler(dev.Backend())
	results := func(out []*model.Array, err error) (nll, dh []float32) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer model.FreeAll(out...)
		if nll, err = model.Download[float32](out[0]); err == nil {
			dh, err = model.Download[float32](out[1])
		}
		if err != nil {
			t.Fatal(err)
		}
		return nll, dh
	}
	for _, dtype := range []dtypes.DType{dtypes.Float32, dtypes.BFloat16} {
		limit := 1e-5
		if dtype == dtypes.BFloat16 {
			limit = 1e-2 // the one rounds e^x to bf16 before the product, the other softmax − 1 at the label
		}
		e := &engine{config: cfg, compiler: compiler, programs: map[string]*model.Program{}}
		head, err := e.run("convert", func(in []*Node) []*Node { return []*Node{ConvertDType(in[0], dtype)} }, inputs[2])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { model.FreeAll(head...) })
		e.base = &model.Model{Config: cfg, Norm: inputs[1], Head: head[0]}
		nll, dh := results(frozenHead{cfg, true}.run(e, &headInput{picked: inputs[0], labels: inputs[3], weights: inputs[4]}))
		wantNLL, want := results(e.run("whole", func(in []*Node) []*Node {
			zeros := []*Node{ZerosLike(in[1]), ConvertDType(ZerosLike(in[2]), dtypes.Float32)}
			return trainedHead(cfg, append(in[:5:5], zeros...))[:2]
		}, inputs[0], inputs[1], head[0], inputs[3], inputs[4]))
		modeltest.Near(t, "nll", nll, wantNLL, 1e-5)
		modeltest.Close(t, "gradient", dh, want, limit)
		if dtype == dtypes.Float32 {
			copies := func() (n int) {
				for name := range e.programs {
					if strings.Contains(name, " words|") {
						n++
					}
				}
				return n
			}
			before := copies()
			for _, p := range e.programs {
				p.Close()
			}
			clear(e.programs)
			e.base.Head = shared
			sameNLL, same := results(frozenHead{cfg, true}.run(e, &headInput{picked: inputs[0], labels: inputs[3], weights: inputs[4]}))
			if before != 2 || copies() != 0 {
				t.Errorf("%d and %d programs copy words of the head", before, copies())
			}
			if !slices.Equal(sameNLL, nll) || !slices.Equal(same, dh) {
				t.Error("pieces in the memory of the head give something else than copies of it")
			}
		}
		for _, p := range e.programs {
			p.Close()
		}
	}
}
