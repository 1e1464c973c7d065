package train

import (
	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// headElements bounds the logits that exist at one time where the head is trained, of which there are two or three copies. 20 million are 80 MB.
const headElements = 20 << 20

// headRows is the number of rows of the largest chunk of places: 32 times a power of two, at most 4096. Where the head is
// frozen the vocabulary is cut as well ([frozenHead]), and rows enough to keep the cores busy fit.
func headRows(vocab int, frozen bool) int {
	rows := 32
	if frozen {
		rows = 1024
	}
	for rows < 4096 && 2*rows*vocab <= headElements {
		rows *= 2
	}
	return rows
}

// logitsOf is the number of logits that exist at one time for a chunk of rows.
func logitsOf(rows, vocab int, frozen bool) int {
	if frozen {
		return rows * pieceOf(rows, vocab)
	}
	return rows * vocab
}

// headRows is the number of rows of this engine's largest chunk.
func (e *engine) headRows() int { return headRows(e.config.Vocab, e.norm == nil) }

// chunks splits n rows into chunks of few different sizes, each of which compiles once: halves, quarters, … of
// the largest, down to a sixteenth, so that few rows are filled up.
func chunks(n, largest int) []int {
	var sizes []int
	smallest := max(32, largest/16)
	for n > 0 {
		size := largest
		for size > smallest && (n+smallest-1)/smallest*smallest < size {
			size /= 2
		}
		sizes = append(sizes, size)
		n -= size
	}
	return sizes
}

// trainedHead builds final norm, head, cross-entropy and its gradient for one chunk of places, where the head is trained. Inputs: h
// [rows, hidden], norm [hidden], head [vocab, hidden], labels [rows] int32, weights [rows] (1 / trained tokens of the step; 0 for a
// place that only fills the chunk), and the gradients of norm and head so far. Outputs: nll [rows], dh [rows, hidden], and the two
// gradients with this chunk's added.
//
// nll = log Σ exp(logits) − logits[label]; its gradient to the logits is softmax − onehot.
func trainedHead(cfg *model.Config, in []*Node) []*Node {
	h, norm, head, labels, weights := in[0], in[1], in[2], in[3], in[4]
	g := h.Graph()
	rows, vocab := h.Shape().Dim(0), head.Shape().Dim(0)
	normed := model.RMSNorm(h, norm, cfg.Eps)
	logits := model.HeadProduct(normed, head)
	wide := func(column *Node) *Node { return BroadcastToDims(ExpandAxes(column, 1), rows, vocab) }

	top := ReduceMax(logits, 1)
	exp := Exp(Sub(logits, wide(top)))
	sum := ReduceSum(exp, 1)
	isLabel := Equal(Iota(g, shapes.Make(dtypes.Int32, rows, vocab), 1), wide(labels))
	zeros := ZerosLike(logits)
	atLabel := ReduceSum(Where(isLabel, logits, zeros), 1)
	nll := Sub(Add(Log(sum), top), atLabel)
	trained := GreaterThan(weights, ZerosLike(weights))
	nll = Where(trained, nll, ZerosLike(nll))

	softmax := Div(exp, wide(sum))
	dLogits := Mul(Sub(softmax, Where(isLabel, OnesLike(logits), zeros)), wide(weights))
	dNormed := model.PullHeadProduct(dLogits, head)
	d := pull([]*Node{normed}, []*Node{dNormed}, []*Node{h, norm})
	dHead := Dot(dLogits, normed).General([]int{0}, nil, []int{0}, nil)
	return []*Node{nll, d[0], Add(in[5], d[1]), Add(in[6], dHead)}
}

// embedGraph looks up ids [batch, seq] in the embedding [vocab, hidden]: [batch, seq, hidden].
func embedGraph(in []*Node) []*Node { return []*Node{model.Embed(in[0], in[1])} }

// pickGraph takes rows out of x [batch, seq, hidden] at flat places [rows, 1]: [rows, hidden].
func pickGraph(in []*Node) []*Node {
	dims := in[0].Shape().Dimensions
	return []*Node{Gather(Reshape(in[0], dims[0]*dims[1], dims[2]), in[1])}
}

// spreadGraph adds rows [rows, hidden] at flat places [rows, 1] to a gradient [batch, seq, hidden].
func spreadGraph(in []*Node) []*Node {
	dims := in[0].Shape().Dimensions
	flat := ScatterSum(Reshape(in[0], dims[0]*dims[1], dims[2]), in[1], in[2], false, false)
	return []*Node{Reshape(flat, dims...)}
}

// embedBackwardGraph adds dx [batch, seq, hidden] at ids [batch, seq] to the gradient of the embedding
// [vocab, hidden].
func embedBackwardGraph(in []*Node) []*Node {
	acc, ids, dx := in[0], in[1], in[2]
	dims := dx.Shape().Dimensions
	rows := dims[0] * dims[1]
	return []*Node{ScatterSum(acc, Reshape(ids, rows, 1), Reshape(dx, rows, dims[2]), false, false)}
}
