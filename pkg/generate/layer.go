package generate

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"descant/pkg/model"
)

// layerShape names one executable of the decoder layer.
type layerShape struct {
	rows    int // rows of the batch
	tokens  int // new tokens of each row
	context int // positions of the key/value cache
	window  int // sliding window, 0 for none
}

// layerPlan holds everything that the graph of a layer depends on besides its shape.
type layerPlan struct {
	config *model.Config
	// rows is the number of rows of the cache. A batch has all of them, or one, which is then chosen by its index.
	rows int
	// columns is the number of adapter columns; 0 leaves the adapters out.
	columns int
	// inPlace: the cache is written from Go, and the graph returns the new keys and values instead of a new cache.
	inPlace bool
}

// layerGraph is the graph of a layer while it is built.
type layerGraph struct {
	layerPlan
	shape layerShape
	in    map[string]*Node
	mask  *Node // [rows·tokens, columns] bool
}

// inputs lists the parameters of the layer's graph, in order. They are f32 where nothing else is said:
//
//	x [rows, tokens, hidden]           residual stream
//	cos, sin [rows, tokens, D/2]       rotary tables of the new positions; D = head width
//	cached [rows] int32                filled positions of each row
//	row [] int32                       only if the batch is one row of a larger cache: which
//	mask [rows, columns] bool          only with adapters: the columns of each row's adapter
//	keys, values [cache rows, key/value heads, context, D]
//	the layer's weights                model.Config.LayerTensors in their shapes in memory
//	A [in, columns], B [columns, out]  only with adapters: for each of model.Config.Projections
func (p layerPlan) inputs(s layerShape) (names []string, list []shapes.Shape) {
	add := func(name string, dtype dtypes.DType, dims ...int) {
		names, list = append(names, name), append(list, shapes.Make(dtype, dims...))
	}
	cfg := p.config
	add("x", dtypes.Float32, s.rows, s.tokens, cfg.Hidden)
	add("cos", dtypes.Float32, s.rows, s.tokens, cfg.HeadDim/2)
	add("sin", dtypes.Float32, s.rows, s.tokens, cfg.HeadDim/2)
	add("cached", dtypes.Int32, s.rows)
	if s.rows < p.rows {
		add("row", dtypes.Int32)
	}
	if p.columns > 0 {
		add("mask", dtypes.Bool, s.rows, p.columns)
	}
	add("keys", dtypes.Float32, p.rows, cfg.KVHeads, s.context, cfg.HeadDim)
	add("values", dtypes.Float32, p.rows, cfg.KVHeads, s.context, cfg.HeadDim)
	for _, t := range cfg.LayerTensors() {
		add(t.Name, dtypes.Float32, t.Memory()...)
	}
	if p.columns > 0 {
		for _, proj := range cfg.Projections() {
			add(proj.Module+".A", dtypes.Float32, proj.In, p.columns)
			add(proj.Module+".B", dtypes.Float32, p.columns, proj.Out)
		}
	}
	return names, list
}

// compileLayer compiles a decoder layer over a key/value cache. Its results are x, and then in place: the new keys
// and values [rows, tokens, 2, key/value heads, D]; otherwise the updated caches.
func compileLayer(c *model.Compiler, plan layerPlan, s layerShape) (*model.Program, error) {
	names, list := plan.inputs(s)
	name := fmt.Sprintf("layer of %d rows, %d tokens, context %d, window %d", s.rows, s.tokens, s.context, s.window)
	return c.Compile(name, list, func(_ *Graph, nodes []*Node) []*Node {
		in := make(map[string]*Node, len(nodes))
		for i, n := range nodes {
			in[names[i]] = n
		}
		return (&layerGraph{layerPlan: plan, shape: s, in: in}).build()
	})
}

func (l *layerGraph) build() []*Node {
	in := l.in
	if mask := in["mask"]; mask != nil {
		mask = BroadcastToDims(ExpandAxes(mask, 1), l.shape.rows, l.shape.tokens, l.columns)
		l.mask = Reshape(mask, l.shape.rows*l.shape.tokens, l.columns)
	}
	block := model.NewBlock(l.config, in, l.linear)
	q, k, v := block.QKV(in["x"])
	q, k, v = block.Heads(q, k, v, in["cos"], in["sin"])
	x := block.Output(in["x"], model.AttendCached(q, k, v, l.pick(in["keys"]), l.pick(in["values"]), in["cached"], l.shape.window))
	gate, up := block.GateUp(x)
	x = block.Down(x, gate, up)
	if l.inPlace {
		return []*Node{x, Stack([]*Node{k, v}, 2)}
	}
	return []*Node{x, l.update(in["keys"], k), l.update(in["values"], v)}
}

// linear is x·W + b and, for every row of x, its adapter's part.
func (l *layerGraph) linear(module string, x, weight, bias *Node) *Node {
	y := model.Plain(module, x, weight, bias)
	if l.mask == nil {
		return y
	}
	middle := Dot(x, l.in[module+".A"]).General([]int{1}, nil, []int{0}, nil)
	// Selecting, not multiplying: an overflow in another adapter's columns must not become a NaN in this row.
	middle = Where(l.mask, middle, ZerosLike(middle))
	return Add(y, Dot(middle, l.in[module+".B"]).General([]int{1}, nil, []int{0}, nil))
}

// pick takes the one row of a cache that the batch is about, or all of it.
func (l *layerGraph) pick(cache *Node) *Node {
	row := l.in["row"]
	if row == nil {
		return cache
	}
	// Not DynamicSlice, which the pure-Go backend lacks.
	return Gather(cache, Reshape(row, 1, 1))
}

// update gives the cache [cache rows, heads, context, D] with fresh [rows, tokens, heads, D] behind the filled positions.
func (l *layerGraph) update(cache, fresh *Node) *Node {
	fresh = TransposeAllAxes(fresh, 0, 2, 1, 3)
	zero := Scalar(cache.Graph(), dtypes.Int32, 0)
	for i := range l.shape.rows {
		target := l.in["row"]
		if target == nil {
			target = Scalar(cache.Graph(), dtypes.Int32, i)
		}
		one := Slice(fresh, AxisRange(i, i+1), AxisRange(), AxisRange(), AxisRange())
		at := Reshape(Slice(l.in["cached"], AxisRange(i, i+1)))
		cache = DynamicUpdateSlice(cache, one, []*Node{target, zero, at, zero})
	}
	return cache
}

// compileEmbed compiles the look-up of ids [rows, tokens] int32 in the embedding: x [rows, tokens, hidden].
func compileEmbed(c *model.Compiler, cfg *model.Config, rows, tokens int) (*model.Program, error) {
	inputs := []shapes.Shape{
		shapes.Make(dtypes.Int32, rows, tokens),
		shapes.Make(dtypes.Float32, cfg.Vocab, cfg.Hidden),
	}
	return c.Compile(fmt.Sprintf("embedding of %d rows, %d tokens", rows, tokens), inputs,
		func(_ *Graph, in []*Node) []*Node { return []*Node{model.Embed(in[1], in[0])} })
}

// compileHead compiles final norm and output layer for one token of each row (more than one token only with one row):
// x [rows, tokens, hidden], token [] int32 (which token's logits are wanted), norm [hidden], head [vocab, hidden] give logits [rows, vocab].
func compileHead(c *model.Compiler, cfg *model.Config, rows, tokens int) (*model.Program, error) {
	inputs := []shapes.Shape{
		shapes.Make(dtypes.Float32, rows, tokens, cfg.Hidden),
		shapes.Make(dtypes.Int32),
		shapes.Make(dtypes.Float32, cfg.Hidden),
		shapes.Make(dtypes.Float32, cfg.Vocab, cfg.Hidden),
	}
	return c.Compile(fmt.Sprintf("head of %d rows, %d tokens", rows, tokens), inputs, func(_ *Graph, in []*Node) []*Node {
		x, token, norm, head := in[0], in[1], in[2], in[3]
		if tokens > 1 {
			x = Gather(Reshape(x, tokens, cfg.Hidden), Reshape(token, 1, 1))
		}
		x = Reshape(x, rows, cfg.Hidden)
		if rows == 1 {
			return []*Node{model.Logits(cfg, x, norm, head)}
		}
		// The head as the left operand: with it on the right, XLA's CPU kernels are up to nine times slower for a few rows.
		x = TransposeAllAxes(model.RMSNorm(x, norm, cfg.Eps), 1, 0)
		logits := Dot(head, x).General([]int{1}, nil, []int{0}, nil)
		return []*Node{TransposeAllAxes(logits, 1, 0)}
	})
}
