package train

import (
	"math"
	"path/filepath"
	"testing"

	"descant/pkg/device"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
	"descant/pkg/safetensors"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// roundedTarget does in f32, by autodiff and in the layout [in, out], what dtype bf16 is meant to do by hand and in
// [out, in]: what each product is given is rounded to bf16, forward x and backward the gradient dy, of an adapter both matrices
// and what is between them.
type roundedTarget struct{ *loraTarget }

func (t roundedTarget) signature(layer int) string { return "rounded " + t.loraTarget.signature(layer) }

func (roundedTarget) dtype() dtypes.DType { return dtypes.BFloat16 }

// adapters leaves the gradient to autodiff.
func (roundedTarget) adapters(int, *Node, *Node) *lora.Adapters { return nil }

func (t roundedTarget) block(layer int, frozen []*Node, flat, _ *Node) (*model.Block, []piece) {
	weights, _ := t.model.Config.Bind(frozen)
	_, pieces := t.loraTarget.block(layer, frozen, flat, nil)
	return model.NewBlock(t.model.Config, weights, func(module string, x, weight, bias *Node) *Node {
		y := pullRounded(Dot(rounded(x), weight).General([]int{1}, nil, []int{0}, nil))
		if bias != nil {
			y = Add(y, BroadcastToDims(ExpandAxes(bias, 0), y.Shape().Dimensions...))
		}
		for i, m := range t.plan.Layers[layer] {
			if m.Local == module {
				a, b := rounded(pieces[2*i].node), rounded(pieces[2*i+1].node)
				low := pullRounded(Dot(rounded(x), a).General([]int{1}, nil, []int{1}, nil))
				delta := pullRounded(Dot(rounded(MulScalar(low, m.Scale)), b).General([]int{1}, nil, []int{1}, nil))
				y = Add(y, delta)
			}
		}
		return y
	}), pieces
}

// rounded is x rounded to bf16; to the gradient it is x.
func rounded(x *Node) *Node {
	// The difference of x and its rounded value is exact in f32.
	return Add(x, StopGradient(Sub(model.Through(dtypes.BFloat16, x), x)))
}

// pullRounded is x, whose gradient is rounded to bf16.
func pullRounded(x *Node) *Node {
	return IdentityWithCustomGradient(x, func(_, dy *Node) *Node { return model.Through(dtypes.BFloat16, dy) })
}

// roundBF16 rounds as files in bf16 are rounded.
func roundBF16(t *testing.T, values []float32) []float32 {
	t.Helper()
	data, err := safetensors.EncodeFloat32(safetensors.BF16, values)
	if err != nil {
		t.Fatal(err)
	}
	if values, err = safetensors.DecodeFloat32(safetensors.BF16, data); err != nil {
		t.Fatal(err)
	}
	return values
}

// roundedEngine is the engine of a case with [roundedTarget]. Embedding, final norm and head are those of dtype bf16;
// TestHeadBF16 looks at the head.
func roundedEngine(t *testing.T, dev *device.Device, c modeltest.Case) *engine {
	t.Helper()
	m, err := model.LoadBF16(dev, c.Base())
	if err != nil {
		t.Fatal(err)
	}
	exact, err := model.Load(dev, c.Base())
	if err != nil {
		t.Fatal(err)
	}
	defer exact.Close()
	for i, layer := range exact.Layers {
		for k, w := range layer {
			if m.Layers[i][k].Shape().DType != dtypes.BFloat16 {
				continue
			}
			values, err := model.Download[float32](w)
			if err != nil {
				t.Fatal(err)
			}
			m.Layers[i][k].Free()
			if m.Layers[i][k], err = model.Upload(dev.Backend(), roundBF16(t, values), w.Shape().Dimensions...); err != nil {
				t.Fatal(err)
			}
		}
	}
	a, err := lora.Load(m.Config, filepath.Join(c.Dir, "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := newLoraEngine(m, model.NewFastCompiler(dev.Backend()), a, adamW{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.close)
	e.target = roundedTarget{e.target.(*loraTarget)}
	return e
}

// TestHeadBF16 compares losses and gradients of a head in bf16 with sums in float64 over the same rounded operands.
// Rounding happens once in each direction: of the normed rows, whose float32 errors of some 2⁻²³ send one value in
// 2¹⁵ to the other side, and of e^(logit − largest). A loss then has the errors of float32 alone nearly always;
// 2⁻¹² of the gradient is the √(2⁻¹⁵·2⁻⁸) that such flips of a step of 2⁻⁸ amount to.
func TestHeadBF16(t *testing.T) {
	t.Parallel()
	dev := open(t, device.XLA)
	for _, c := range modeltest.Cases(t, "train.json")[:2] {
		m, err := model.LoadBF16(dev, c.Base())
		if err != nil {
			t.Fatal(err)
		}
		e := newEngine(m, model.NewFastCompiler(dev.Backend()), nil, adamW{})
		t.Cleanup(e.close)
		exact, err := model.Load(dev, c.Base())
		if err != nil {
			t.Fatal(err)
		}
		defer exact.Close()
		norm, err := model.Download[float32](m.Norm)
		if err != nil {
			t.Fatal(err)
		}
		head, err := model.Download[float32](exact.Head)
		if err != nil {
			t.Fatal(err)
		}
		head = roundBF16(t, head)
		const rows, used, scale = 8, 6, 0.125
		hidden, vocab := m.Config.Hidden, m.Config.Vocab
		h, places, labels := make([]float32, rows*hidden), make([]int32, used), make([]int32, used)
		for i := range h {
			h[i] = float32(int32(mix(uint64(i))>>40)-1<<23) / (1 << 22)
		}
		for i := range places {
			places[i], labels[i] = int32(i), int32(mix(uint64(i))%uint64(vocab))
		}
		last, err := model.Upload(dev.Backend(), h, 1, rows, hidden)
		if err != nil {
			t.Fatal(err)
		}
		defer last.Free()
		in, err := e.headInput(last, places, labels, rows, scale)
		if err != nil {
			t.Fatal(err)
		}
		defer in.free()
		nll, drows, err := e.chunk(in, used)
		if err != nil {
			t.Fatal(err)
		}
		got, err := model.Download[float32](drows)
		drows.Free()
		if err != nil {
			t.Fatal(err)
		}
		for r := range used {
			row := h[r*hidden : (r+1)*hidden]
			wantNLL, want := headRow(t, row, norm, head, int(labels[r]), scale, m.Config.Eps)
			modeltest.NearNumber(t, "nll", float64(nll[r]), wantNLL, 1e-4)
			modeltest.Close(t, "gradient", got[r*hidden:(r+1)*hidden], want, 1.0/(1<<12))
		}
	}
}

// headRow is final norm, head and cross-entropy of one row h [hidden] in float64, and the gradient of scale · nll to it.
func headRow(t *testing.T, h, norm, head []float32, label int, scale, eps float64) (nll float64, dh []float32) {
	t.Helper()
	hidden, vocab := len(h), len(head)/len(h)
	square := 0.0
	for _, x := range h {
		square += float64(x) * float64(x)
	}
	root := math.Sqrt(square/float64(hidden) + eps)
	normed := make([]float32, hidden)
	for i, x := range h {
		normed[i] = float32(float64(x) / root * float64(norm[i]))
	}
	normed = roundBF16(t, normed)
	logits, top := make([]float64, vocab), math.Inf(-1)
	for v := range logits {
		for i, x := range normed {
			logits[v] += float64(x) * float64(head[v*hidden+i])
		}
		top = max(top, logits[v])
	}
	sum := 0.0
	for _, l := range logits {
		sum += math.Exp(l - top)
	}
	d := make([]float32, vocab)
	for v, l := range logits {
		d[v] = float32(math.Exp(l - top))
	}
	d = roundBF16(t, d)
	// Through the norm: dx = (g − x·(g·x)/(hidden·root²))/root with g = dNormed·norm.
	g, along := make([]float64, hidden), 0.0
	for i := range g {
		for v, x := range d {
			g[i] += float64(x) * float64(head[v*hidden+i])
		}
		g[i] = scale * (g[i]/sum - float64(head[label*hidden+i])) * float64(norm[i])
		along += g[i] * float64(h[i])
	}
	dh = make([]float32, hidden)
	for i := range dh {
		dh[i] = float32((g[i] - float64(h[i])*along/(float64(hidden)*root*root)) / root)
	}
	return math.Log(sum) + top - logits[label], dh
}
