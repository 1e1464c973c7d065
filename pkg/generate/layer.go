package generate

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"descant/pkg/device"
	"descant/pkg/model"
)

// layerGraph is the graph of a layer while it is built.
type layerGraph struct {
	layerPlan
	shape layerShape
	in    map[string]*Node
	// ranges [rows·tokens, 2] int32 are the columns of each row's adapter.
	ranges *Node
	// products are those with joined matrices, by the name of the matrix; parts what adapters add, by the group of modules.
	products map[string]*Node
	parts    map[int][]*Node
}

// inputs lists the parameters of the graph of a run of layers, in order: first the common ones. They are f32 where nothing else is
// said:
//
//	x [rows, tokens, hidden]           residual stream
//	cos, sin [rows, tokens, D/2]       rotary tables of the new positions; D = head width
//	cached [rows] int32                filled positions of each row
//	rows [rows] int32                  only if the batch has fewer rows than the cache: which
//	ranges [rows, 2] int32             only with adapters: the first column of each row's adapter, and the one behind its last
//	start [] int32                     only for oneAdapter: the first of the columns that the slice takes
//	token [] int32                     only for the last layer of a chunk: which token goes on
//
// and then those of each layer:
//
//	keys, values [cache rows, key/value heads, context, D]
//	the layer's weights                layerPlan.weights
//	A and B                            only with adapters: see columnShapes
func (p layerPlan) inputs(s layerShape) (common, own []input) {
	cfg := p.config
	of := func(name string, dtype dtypes.DType, dims ...int) input {
		return input{name, shapes.Make(dtype, dims...)}
	}
	common = []input{
		of("x", dtypes.Float32, s.rows, s.tokens, cfg.Hidden),
		of("cos", dtypes.Float32, s.rows, s.tokens, cfg.HeadDim/2),
		of("sin", dtypes.Float32, s.rows, s.tokens, cfg.HeadDim/2),
		of("cached", dtypes.Int32, s.rows),
	}
	if s.rows < p.rows {
		common = append(common, of("rows", dtypes.Int32, s.rows))
	}
	if s.mode != noAdapter {
		common = append(common, of("ranges", dtypes.Int32, s.rows, 2))
	}
	if s.mode == oneAdapter {
		common = append(common, of("start", dtypes.Int32))
	}
	if s.last {
		common = append(common, of("token", dtypes.Int32))
	}
	cache := []int{p.rows, cfg.KVHeads, s.context, cfg.HeadDim}
	own = append(own, of("keys", dtypes.Float32, cache...), of("values", dtypes.Float32, cache...))
	own = append(own, p.weights...)
	if s.mode != noAdapter {
		p.adapters.each(func(name string, shape shapes.Shape) { own = append(own, input{name, shape}) })
	}
	return common, own
}

// compileLayers compiles a run of decoder layers over a key/value cache. Its results are x, [rows, 1, hidden] after the last layer of a chunk, and then in place: the new keys
// and values [layers, rows, tokens, 2, key/value heads, D]; otherwise the keys and values of each layer, which are donated, updated.
func compileLayers(c *model.Compiler, plan layerPlan, s layerShape) (*model.Program, error) {
	common, own := plan.inputs(s)
	var list []shapes.Shape
	for _, w := range slices.Concat(common, slices.Repeat(own, s.layers)) {
		list = append(list, w.shape)
	}
	var donations []model.Donation
	if !plan.inPlace {
		for layer := range s.layers {
			keys := len(common) + layer*len(own) // and behind them the values
			donations = append(donations, model.Donation{Input: keys, Output: 1 + 2*layer}, model.Donation{Input: keys + 1, Output: 2 + 2*layer})
		}
	}
	name := fmt.Sprintf("%d layers of %d rows, %d tokens, context %d, window %d, adapters %d, last %t", s.layers, s.rows, s.tokens, s.context, s.window, s.mode, s.last)
	return c.Compile(name, list, func(_ *Graph, nodes []*Node) []*Node {
		x, rest := nodes[0], nodes[len(common):]
		var caches []*Node
		for range s.layers {
			in := map[string]*Node{}
			for i, w := range common {
				in[w.name] = nodes[i]
			}
			for i, w := range own {
				in[w.name] = rest[i]
			}
			in["x"], rest = x, rest[len(own):]
			var updated []*Node
			x, updated = (&layerGraph{layerPlan: plan, shape: s, in: in, products: map[string]*Node{}, parts: map[int][]*Node{}}).build()
			caches = append(caches, updated...)
		}
		if plan.inPlace {
			caches = []*Node{Stack(caches, 0)}
		}
		return append([]*Node{x}, caches...)
	}, donations...)
}

// build gives x, and then in place: the new keys and values; otherwise both caches.
func (l *layerGraph) build() (*Node, []*Node) {
	in := l.in
	if ranges := in["ranges"]; ranges != nil {
		ranges = BroadcastToDims(ExpandAxes(ranges, 1), l.shape.rows, l.shape.tokens, 2)
		l.ranges = Reshape(ranges, l.shape.rows*l.shape.tokens, 2)
	}
	block := model.NewBlock(l.config, in, l.linear)
	q, k, v := block.QKV(in["x"])
	q, k, v = block.Heads(q, k, v, in["cos"], in["sin"])
	keys, values := in["keys"], in["values"]
	if !l.inPlace {
		// What is new lies behind the filled positions, where nobody looks: the same attention, but the cache as it was is not needed any
		// more, so that it is written over and not copied.
		keys, values = l.update(keys, k), l.update(values, v)
	}
	x, attention := in["x"], l.attend(q, k, v, keys, values)
	if l.shape.last {
		x, attention, l.ranges = l.wantedToken(x), l.wantedToken(attention), in["ranges"]
	}
	x = block.Output(x, attention)
	gate, up := block.GateUp(x)
	x = block.Down(x, gate, up)
	if l.inPlace {
		return x, []*Node{Stack([]*Node{k, v}, 2)}
	}
	return x, []*Node{keys, values}
}

// wantedToken takes the token that is wanted out of x [1, tokens, width]: [1, 1, width].
func (l *layerGraph) wantedToken(x *Node) *Node {
	width := x.Shape().Dim(2)
	return Reshape(Gather(Reshape(x, l.shape.tokens, width), Reshape(l.in["token"], 1, 1)), 1, 1, width)
}

// attend is [model.AttendCached] for the rows of the batch, with the whole cache.
func (l *layerGraph) attend(q, k, v, keys, values *Node) *Node {
	cached, index, window := l.in["cached"], l.in["rows"], l.shape.window
	if !l.kernels || l.shape.tokens > 1 && !device.HasFlash(q.Graph().Backend(), q.Shape().Dim(3)) {
		return model.AttendCached(q, k, v, pick(keys, index), pick(values, index), cached, window)
	}
	if index == nil {
		index = Iota(q.Graph(), cached.Shape(), 0)
	}
	in := []*Node{q, k, v, keys, values, cached, index, Const(q.Graph(), int32(window))}
	return model.CallKernel(device.Attend, in, shapes.Make(dtypes.Float32, l.shape.rows, l.shape.tokens, q.Shape().Dim(2)*q.Shape().Dim(3)))[0]
}

// pick takes the rows of a cache that a batch is about, or all of it.
func pick(cache, rows *Node) *Node {
	if rows == nil {
		return cache
	}
	// Not DynamicSlice, which the pure-Go backend lacks.
	return Gather(cache, ExpandAxes(rows, 1))
}

// update gives the cache [cache rows, heads, context, D] with fresh [rows, tokens, heads, D] behind the filled positions.
func (l *layerGraph) update(cache, fresh *Node) *Node {
	fresh = TransposeAllAxes(fresh, 0, 2, 1, 3)
	zero := Scalar(cache.Graph(), dtypes.Int32, 0)
	for i := range l.shape.rows {
		target := Scalar(cache.Graph(), dtypes.Int32, i)
		if rows := l.in["rows"]; rows != nil {
			target = Reshape(Slice(rows, AxisRange(i, i+1)))
		}
		one := Slice(fresh, AxisRange(i, i+1), AxisRange(), AxisRange(), AxisRange())
		at := Reshape(Slice(l.in["cached"], AxisRange(i, i+1)))
		cache = DynamicUpdateSlice(cache, one, []*Node{target, zero, at, zero})
	}
	return cache
}

// compileEmbed compiles the look-up of ids [rows, tokens] int32 in the embedding: x [rows, tokens, hidden].
func compileEmbed(c *model.Compiler, plan layerPlan, b batchShape) (*model.Program, error) {
	inputs := []shapes.Shape{shapes.Make(dtypes.Int32, b.rows, b.tokens), plan.embed}
	return c.Compile(fmt.Sprintf("embedding of %d rows, %d tokens", b.rows, b.tokens), inputs,
		func(_ *Graph, in []*Node) []*Node { return []*Node{model.Embed(in[1], in[0])} })
}
