package model

import (
	"reflect"
	"slices"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"descant/pkg/device"
	"descant/pkg/device/devicetest"
)

// TestDonation holds that a program writes over the input that is donated, and over that only. Without the word of the program that an
// output takes its memory, XLA would copy it.
func TestDonation(t *testing.T) {
	backend := devicetest.Open(t, device.XLA).Backend()
	shape := shapes.Make(dtypes.Float32, 1000, 100)
	list := []shapes.Shape{shape, shapes.Make(dtypes.Float32, 1, 100), shapes.Make(dtypes.Int32)}
	program, err := NewCompiler(backend).Compile("put a row", list, func(g *Graph, in []*Node) []*Node {
		return []*Node{MulScalar(in[1], 2), DynamicUpdateSlice(in[0], in[1], []*Node{in[2], Scalar(g, dtypes.Int32, 0)})}
	}, Donation{Input: 0, Output: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	memory := func(a *Array) uintptr {
		flat, err := a.buffer.Data()
		if err != nil {
			t.Fatal(err)
		}
		return reflect.ValueOf(flat).Pointer()
	}
	must := func(a *Array, err error) *Array {
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	big := must(Upload(backend, make([]float32, 1000*100), 1000, 100))
	for step := range int32(3) {
		row := must(Upload(backend, slices.Repeat([]float32{float32(step + 1)}, 100), 1, 100))
		at := must(Upload(backend, []int32{step}))
		// The first input is of the user's memory, which XLA copies once.
		before := memory(big)
		results, err := program.Run(big, row, at)
		if err != nil {
			t.Fatal(err)
		}
		if !big.Freed() || row.Freed() || at.Freed() {
			t.Errorf("freed are %t, %t and %t, not the first alone", big.Freed(), row.Freed(), at.Freed())
		}
		results[0].Free()
		if big = results[1]; step > 0 && memory(big) != before {
			t.Errorf("step %d copied what was donated", step)
		}
		FreeAll(row, at)
	}
	values, err := Download[float32](big)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range values {
		want := float32(0)
		if i < 300 {
			want = float32(i/100 + 1)
		}
		if v != want {
			t.Fatalf("value %d is %g, want %g", i, v, want)
		}
	}
	big.Free()
	if _, err := program.Run(big, big, big); err == nil {
		t.Error("a freed input is taken")
	}
}
