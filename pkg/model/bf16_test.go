package model

import (
	"slices"
	"testing"

	"descant/pkg/device"
	"descant/pkg/safetensors"

	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// TestProductBF16 multiplies numbers that bf16 holds exactly: results beyond its eight bits must come out exact,
// since sums and results are float32.
func TestProductBF16(t *testing.T) {
	t.Parallel()
	dev, err := device.Open(device.XLA)
	if err != nil {
		t.Fatal(err)
	}
	x, err := Upload(dev.Backend(), []float32{1, 2, 3, 100, 0, 1}, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	// Two outputs of three inputs each, as a file holds them.
	w, err := fill16[bfloat16.BFloat16](dev.Backend(), func(out []byte) error {
		data, err := safetensors.EncodeFloat32(safetensors.BF16, []float32{1, 0.5, 100, 3, 64, 5})
		copy(out, data)
		return err
	}, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer FreeAll(x, w)
	p, err := NewCompiler(dev.Backend()).Compile("products", []shapes.Shape{x.Shape(), w.Shape()}, func(_ *Graph, in []*Node) []*Node {
		y := Product(in[0], in[1])
		// The gradient that autodiff sees is zero; the true one is added by hand.
		none := Gradient(ReduceAllSum(Add(y, MulScalar(ReduceAndKeep(in[0], ReduceSum, 1), 0))), in[0])[0]
		return []*Node{y, Add(PullProduct(y, in[1]), none)}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	out, err := p.Run(x, w)
	if err != nil {
		t.Fatal(err)
	}
	defer FreeAll(out...)
	y, err := Download[float32](out[0])
	if err != nil {
		t.Fatal(err)
	}
	if want := []float32{302, 146, 200, 305}; !slices.Equal(y, want) {
		t.Errorf("product %v, expected %v", y, want)
	}
	dx, err := Download[float32](out[1])
	if err != nil {
		t.Fatal(err)
	}
	// 305 is not a bf16 number; it rounds to 304.
	if want := []float32{302 + 3*146, 0.5*302 + 64*146, 100*302 + 5*146, 200 + 3*304, 0.5*200 + 64*304, 100*200 + 5*304}; !slices.Equal(dx, want) {
		t.Errorf("gradient %v, expected %v", dx, want)
	}
}
