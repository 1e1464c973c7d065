package generate

import (
	"slices"

	"descant/pkg/model"

	"github.com/gomlx/compute/shapes"
)

// batchShape is what a step computes: rows of the batch and new tokens of each row.
type batchShape struct{ rows, tokens int }

// adapterMode is how a step's graph takes part of the adapters.
type adapterMode int

const (
	// noAdapter: no row has an adapter, the graph knows of none.
	noAdapter adapterMode = iota
	// oneAdapter: all rows that have an adapter have the same one, and a slice of the columns holds it.
	oneAdapter
	// manyAdapters: all columns, and of each row's own their range.
	manyAdapters
)

// stepShape names the programs of a step, for one size of the cache.
type stepShape struct {
	batchShape
	mode adapterMode
}

// layerShape names one executable, of a run of decoder layers.
type layerShape struct {
	stepShape
	context int // positions of the key/value cache
	window  int // sliding window, 0 for none
	layers  int // how many layers one after the other
	// last: after the attention only the token that is wanted goes on. It is the last layer of a chunk.
	last bool
}

// chunks are the numbers of prompt tokens that go through the model at once; a rest is padded to the next one.
func chunks() []int { return []int{32, 128} }

// largestChunk is also how long running rows wait for another row's prompt.
func largestChunk() int { return slices.Max(chunks()) }

// layerPlan holds everything that the graphs of an engine depend on besides their shape.
type layerPlan struct {
	config *model.Config
	// rows is the number of rows of the cache. A batch has all of them in order, or fewer that are named by their index.
	rows int
	// adapters are the matrices of the adapters; width columns side by side are what [oneAdapter] takes, 0 where the device
	// cannot, or has a kernel that takes each row's own.
	adapters columnShapes
	width    int
	// kernels: the device has those of [device.WithKernels].
	kernels bool
	// fuses: it has the one for a packed matrix and adapters together ([device.FusesAdapters]).
	fuses bool
	// inPlace: the cache is written from Go, and the graph returns the new keys and values instead of a new cache.
	inPlace bool
	// weights are a layer's, embed and head the shapes of the embedding and the output matrix.
	weights     []input
	embed, head shapes.Shape
	// pieces are the shapes of what several rows take instead of the output matrix: itself, parts of it, or a packed one.
	pieces []shapes.Shape
	// verify is how many tokens a step with a draft has: the newest one and the longest draft.
	verify int
}

// shapes lists the shapes of steps. The first required of them suffice for everything; the others do part of the work
// faster: fewer rows than all, no adapter or only one, longer chunks.
func (p layerPlan) shapes(longest int) (list []stepShape, required int) {
	general := noAdapter
	if p.adapters.columns > 0 {
		general = manyAdapters
	}
	add := func(rows, tokens int, mode adapterMode) {
		if shape := (stepShape{batchShape{rows, tokens}, mode}); !slices.Contains(list, shape) {
			list = append(list, shape)
		}
	}
	add(1, 1, general)
	add(1, chunks()[0], general)
	add(p.rows, 1, general)
	required = len(list)
	for _, tokens := range append([]int{1, p.verify}, chunks()...) {
		if tokens > max(longest, chunks()[0]) {
			continue
		}
		switch {
		case p.adapters.columns == 0:
			add(1, tokens, noAdapter)
		case p.width > 0:
			add(1, tokens, oneAdapter)
			add(1, tokens, noAdapter)
		default:
			add(1, tokens, manyAdapters)
			add(1, tokens, noAdapter)
		}
	}
	for _, rows := range rowCounts(p.rows) {
		if rows > 1 {
			add(rows, 1, general)
			add(rows, 1, noAdapter)
			if p.width > 0 {
				add(rows, 1, oneAdapter)
			}
		}
	}
	return list, required
}

// rowCounts are the sizes of batches that decode: one row, four and their doubles, and all.
func rowCounts(rows int) []int {
	list := []int{1}
	for n := 4; n < rows; n *= 2 {
		list = append(list, n)
	}
	if rows > 1 {
		list = append(list, rows)
	}
	return list
}

// modes are the ways to compute with the adapters of a batch, the fastest first.
func (p layerPlan) modes(batch []*sequence) []adapterMode {
	if p.adapters.columns == 0 {
		return []adapterMode{noAdapter}
	}
	var one *adapter
	for _, s := range batch {
		switch {
		case s.adapter == nil:
		case one != nil && one != s.adapter:
			return []adapterMode{manyAdapters}
		default:
			one = s.adapter
		}
	}
	switch {
	case one == nil:
		return []adapterMode{noAdapter, manyAdapters}
	case one.to-one.from <= p.width:
		return []adapterMode{oneAdapter, manyAdapters}
	}
	return []adapterMode{manyAdapters}
}

// layersTogether is how many layers a program of one row and token runs: to start a program and to fetch what it gives takes as long
// as a tenth of such a layer. Programs of more rows have more to do, and take longer to compile.
const layersTogether = 4

// chunk says that a batch is a part of a prompt, of whose tokens one is wanted at most. A row with a draft wants all.
func (p layerPlan) chunk(b batchShape) bool { return b.tokens > 1 && b.tokens != p.verify }

// wanted is the batch that comes out of the layers.
func (p layerPlan) wanted(b batchShape) batchShape {
	if p.chunk(b) {
		b.tokens = 1
	}
	return b
}

// layerRuns divides the layers into runs that have one window, in order. A window that reaches over all of the context hides nothing,
// so that such a layer is like one without.
func (p layerPlan) layerRuns(s stepShape, context int) (list []layerShape) {
	cfg := p.config
	most := 1
	if s.rows == 1 && s.tokens == 1 {
		most = layersTogether
	}
	for layer := range cfg.Layers {
		window := cfg.Window(layer)
		if window >= context+s.tokens {
			window = 0
		}
		if n := len(list); n > 0 && list[n-1].window == window && list[n-1].layers < most {
			list[n-1].layers++
			continue
		}
		list = append(list, layerShape{stepShape: s, context: context, window: window, layers: 1})
	}
	list[len(list)-1].last = p.chunk(s.batchShape)
	return list
}

// layerShapes lists the different shapes of all runs of layers.
func (p layerPlan) layerShapes(s stepShape, context int) (list []layerShape) {
	for _, shape := range p.layerRuns(s, context) {
		if !slices.Contains(list, shape) {
			list = append(list, shape)
		}
	}
	return list
}
