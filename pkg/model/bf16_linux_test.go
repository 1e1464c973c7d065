package model

import (
	"syscall"
	"testing"

	"descant/pkg/device"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// TestRepeatedProductsFaultNoPages: the temporary memory of an execution is that of the one before, not new from the kernel.
func TestRepeatedProductsFaultNoPages(t *testing.T) {
	dev, err := device.Open(device.XLA)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	const rows, in, out, matrices = 4, 1024, 4096, 8 // 8 MiB each, which the product repacks
	list := []shapes.Shape{shapes.Make(dtypes.Float32, rows, in)}
	x, err := Upload(dev.Backend(), make([]float32, rows*in), rows, in)
	if err != nil {
		t.Fatal(err)
	}
	args := []*Array{x}
	defer func() { FreeAll(args...) }()
	for range matrices {
		weight, err := fill16[bfloat16.BFloat16](dev.Backend(), func(b []byte) error { clear(b); return nil }, out, in)
		if err != nil {
			t.Fatal(err)
		}
		list, args = append(list, weight.Shape()), append(args, weight)
	}
	p, err := NewCompiler(dev.Backend()).Compile("products", list, func(_ *Graph, n []*Node) (products []*Node) {
		for _, weight := range n[1:] {
			products = append(products, Product(n[0], weight))
		}
		return products
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	run := func() {
		result, err := p.Run(args...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Download[float32](result[0]); err != nil {
			t.Fatal(err)
		}
		FreeAll(result...)
	}
	faults := func() int64 {
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
			t.Fatal(err)
		}
		return usage.Minflt
	}
	const times = 15
	for range times { // the heap finds its size
		run()
	}
	before := faults()
	for range times {
		run()
	}
	// A matrix has 2,048 pages.
	if each := (faults() - before) / times / matrices; each > 500 {
		t.Errorf("each product takes %d page faults", each)
	}
}
