package model

import (
	"slices"
	"testing"

	"descant/pkg/device"
	"descant/pkg/device/devicetest"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// TestRows takes rows of an array in shared memory: they are the array's, also when it changes, programs take them, and freeing them leaves it. There is no
// view where the rows begin between two lines of 64 bytes, of memory that is not shared, and on a device without views.
func TestRows(t *testing.T) {
	t.Parallel()
	backend := devicetest.Open(t, device.XLA).Backend()
	const width = 8
	all, err := NewWritable[float32](backend, 100, width)
	if err != nil {
		t.Fatal(err)
	}
	defer all.Free()
	for i := range all.Values() {
		all.Values()[i] = float32(i)
	}
	part, err := all.Array().Rows(20, 50)
	if err != nil || part == nil || !part.Shape().Equal(shapes.Make(dtypes.Float32, 30, width)) {
		t.Fatalf("%v, %v", part, err)
	}
	all.Values()[20*width] = -1
	program, err := NewCompiler(backend).Compile("twice", []shapes.Shape{part.Shape()}, func(_ *Graph, in []*Node) []*Node {
		return []*Node{MulScalar(in[0], 2)}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	want := slices.Clone(all.Values()[20*width : 50*width])
	for i := range want {
		want[i] *= 2
	}
	result, err := program.Run(part)
	if err != nil {
		t.Fatal(err)
	}
	defer FreeAll(result...)
	if got, err := Download[float32](result[0]); err != nil || !slices.Equal(got, want) || got[0] != -2 {
		t.Errorf("%v, %v", got, err)
	}
	part.Free()
	if got, err := Download[float32](all.Array()); err != nil || !slices.Equal(got, all.Values()) {
		t.Errorf("freeing the rows changed the array: %v", err)
	}
	for _, rows := range [][2]int{{-1, 5}, {5, 4}, {5, 5}, {90, 101}} {
		if part, err := all.Array().Rows(rows[0], rows[1]); err == nil {
			t.Errorf("rows %v of 100: %v", rows, part)
		}
	}
	copied, err := Upload(backend, all.Values(), 100, width)
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Free()
	pure, err := Upload(devicetest.Open(t, device.Go).Backend(), all.Values(), 100, width)
	if err != nil {
		t.Fatal(err)
	}
	defer pure.Free()
	for what, a := range map[string]*Array{"between lines": all.Array(), "not shared": copied, "pure Go": pure} {
		first := 20
		if a == all.Array() {
			first = 21
		}
		if part, err := a.Rows(first, 50); part != nil || err != nil {
			t.Errorf("%s: %v, %v", what, part, err)
		}
	}
}
