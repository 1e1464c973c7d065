package model

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// flashCase is a shape of [Flash] and the range of each query.
type flashCase struct {
	batch, seq, keys, heads, kvHeads, dim, window int
	sees                                          func(row, query int) (first, end int)
}

func (c flashCase) ranges() []int32 {
	var list []int32
	for row := range c.batch {
		for query := range c.seq {
			first, end := c.sees(row, query)
			list = append(list, int32(first), int32(end))
		}
	}
	return list
}

// results gives [Flash]'s and [Attend]'s result, and the gradients of q, k and v by [PullFlash] and [PullAttend].
func (c flashCase) results(dtype dtypes.DType, g *Graph, q, k, v, d *Node) (flash, plain []*Node) {
	ranges := Reshape(Const(g, c.ranges()), c.batch, c.seq, 2)
	y := Flash(dtype, q, k, v, ranges, c.window)
	dq, dk, dv := PullFlash(dtype, q, k, v, ranges, y, d, c.window)
	all := shapes.Make(dtypes.Int32, c.batch, c.seq, c.keys)
	bound := func(i int) *Node {
		return BroadcastToDims(SliceAxis(ranges, 2, AxisRange(i, i+1)), all.Dimensions...)
	}
	mask := LogicalAnd(GreaterOrEqual(Iota(g, all, 2), bound(0)), LessThan(Iota(g, all, 2), bound(1)))
	if c.window > 0 {
		mask = LogicalAnd(mask, GreaterOrEqual(Iota(g, all, 2), AddScalar(bound(1), -c.window)))
	}
	want := Attend(dtype, q, k, v, mask)
	wantQ, wantK, wantV := PullAttend(dtype, q, k, v, mask, want, d)
	return []*Node{y, dq, dk, dv}, []*Node{want, wantQ, wantK, wantV}
}

// TestFlash compares the kernel with [Attend] and [PullAttend], for blocks that are full and that are not, ranges that end within tiles and between them, documents,
// windows, heads that fill vectors and that do not, and other keys than queries.
func TestFlash(t *testing.T) {
	t.Parallel()
	k := newKernelTest(t)
	causal := func(_, query int) (int, int) { return 0, query + 1 }
	documents := func(row, query int) (int, int) {
		size := 37 + 60*row
		return query / size * size, query + 1
	}
	for name, c := range map[string]flashCase{
		"causal":        {1, 200, 200, 14, 2, 64, 0, causal},
		"one token":     {2, 1, 1, 4, 2, 16, 0, causal},
		"blocks":        {1, 128, 128, 2, 2, 64, 0, causal},
		"tiles":         {2, 96, 96, 8, 8, 32, 0, causal},
		"window":        {1, 150, 150, 4, 2, 64, 50, causal},
		"documents":     {2, 300, 300, 4, 1, 64, 0, documents},
		"both":          {2, 300, 300, 4, 1, 8, 20, documents},
		"wide heads":    {1, 70, 70, 4, 2, 128, 0, causal},
		"widest":        {1, 70, 70, 2, 1, 256, 0, causal},
		"odd heads":     {2, 70, 70, 6, 2, 81, 0, causal},
		"narrow":        {1, 70, 70, 6, 2, 2, 0, causal},
		"many keys":     {2, 20, 400, 4, 2, 64, 0, func(row, query int) (int, int) { return row * 10, 380 + query }},
		"any order":     {1, 90, 100, 4, 2, 64, 0, func(_, query int) (int, int) { return query * 31 % 90, query*31%90 + 1 + query%10 }},
		"all see a key": {1, 90, 100, 4, 2, 64, 0, func(_, query int) (int, int) { return 99, 100 }},
	} {
		t.Run(name, func(t *testing.T) {
			in := []shapes.Shape{
				shapes.Make(dtypes.Float32, c.batch, c.seq, c.heads, c.dim), shapes.Make(dtypes.Float32, c.batch, c.keys, c.kvHeads, c.dim),
				shapes.Make(dtypes.Float32, c.batch, c.keys, c.kvHeads, c.dim), shapes.Make(dtypes.Float32, c.batch, c.seq, c.heads*c.dim),
			}
			for dtype, limit := range map[dtypes.DType]float32{dtypes.Float32: 1e-5, dtypes.BFloat16: 1e-2} {
				all := computed(t, k.kernel, in, func(g *Graph, n []*Node) []*Node {
					flash, plain := c.results(dtype, g, n[0], n[1], n[2], n[3])
					return append(flash, plain...)
				}, normals(t, k.backend, in))
				for i, of := range []string{"result", "gradient of q", "gradient of k", "gradient of v"} {
					got, want := all[i], all[4+i]
					top := float32(0)
					for _, v := range want {
						top = max(top, abs(v))
					}
					for at, v := range want {
						// With one key the gradients of q and k are 0 but for rounding.
						if !(abs(v-got[at]) <= limit*max(top, 1)) {
							t.Fatalf("%s in %s: %d of %d is %g, not %g", of, dtype, at, len(want), got[at], v)
						}
					}
				}
			}
		})
	}
}

// TestFlashKeepsNaN: what is not a number in a key is none in the results of the queries that see it, in full tiles and at their ends, and nothing to the others.
func TestFlashKeepsNaN(t *testing.T) {
	t.Parallel()
	k := newKernelTest(t)
	c := flashCase{1, 200, 200, 4, 2, 64, 0, func(_, query int) (int, int) { return 0, query + 1 }}
	in := []shapes.Shape{shapes.Make(dtypes.Float32, c.batch, c.seq, c.heads, c.dim), shapes.Make(dtypes.Float32, c.batch, c.keys, c.kvHeads, c.dim)}
	for _, key := range []int{0, 70, 199} {
		y := computed(t, k.kernel, in, func(g *Graph, n []*Node) []*Node {
			at := Iota(g, n[1].Shape(), 1)
			bad := Where(Equal(at, Scalar(g, dtypes.Float32, key)), Scalar(g, dtypes.Float32, math.NaN()), n[1])
			return []*Node{Flash(dtypes.Float32, n[0], bad, n[1], Reshape(Const(g, c.ranges()), c.batch, c.seq, 2), 0)}
		}, normals(t, k.backend, in))[0]
		for i, v := range y {
			if query := i / (c.heads * c.dim); math.IsNaN(float64(v)) != (query >= key) {
				t.Fatalf("key %d: query %d has %g", key, query, v)
			}
		}
	}
}

// TestFlashRefuses: ranges that are empty or end beyond the keys, and operands that do not go together.
func TestFlashRefuses(t *testing.T) {
	t.Parallel()
	k := newKernelTest(t)
	sees := func(first, end int) func(int, int) (int, int) {
		return func(_, query int) (int, int) {
			if query == 3 {
				return first, end
			}
			return 0, 1
		}
	}
	for want, list := range map[string][]flashCase{
		"a range is empty, or not among the keys": {{1, 4, 8, 2, 1, 8, 0, sees(2, 2)}, {1, 4, 8, 2, 1, 8, 0, sees(-1, 2)}, {1, 4, 8, 2, 1, 8, 0, sees(1, 9)}},
		"at most 256 values":                      {{1, 4, 4, 2, 1, 258, 0, sees(0, 4)}},
		"do not go together":                      {{1, 4, 4, 3, 2, 8, 0, sees(0, 4)}},
	} {
		for i, c := range list {
			in := []shapes.Shape{shapes.Make(dtypes.Float32, c.batch, c.seq, c.heads, c.dim), shapes.Make(dtypes.Float32, c.batch, c.keys, c.kvHeads, c.dim)}
			for pull, d := range []shapes.Shape{{}, shapes.Make(dtypes.Float32, c.batch, c.seq, c.heads*c.dim)} {
				list := in
				if pull == 1 {
					list = append(list, d)
				}
				program, err := k.kernel.Compile(fmt.Sprint(want, i), list, func(g *Graph, n []*Node) []*Node {
					ranges := Reshape(Const(g, c.ranges()), c.batch, c.seq, 2)
					if pull == 0 {
						return []*Node{Flash(dtypes.Float32, n[0], n[1], n[1], ranges, 0)}
					}
					dq, _, _ := PullFlash(dtypes.Float32, n[0], n[1], n[1], ranges, n[2], n[2], 0)
					return []*Node{dq}
				})
				if err != nil {
					t.Fatal(err)
				}
				defer program.Close()
				if _, err := program.Run(normals(t, k.backend, list)...); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s, pull %d: %v", want, pull, err)
				}
			}
		}
	}
}
