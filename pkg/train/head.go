package train

import (
	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// headElements bounds the logits that exist at one time. 20 million are 80 MB: 1024 rows by a seventh of a vocabulary of
// 152 thousand.
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

// pieceOf is the number of words of the vocabulary that [frozenHead] takes at one time: equal pieces, multiples of 128.
func pieceOf(rows, vocab int) int {
	pieces := (rows*vocab + headElements - 1) / headElements
	return min(vocab, roundUp((vocab+pieces-1)/pieces, 128))
}

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

// headGraph builds final norm, head, cross-entropy and its gradient for one chunk of places. Inputs: h [rows,
// hidden], norm [hidden], head [vocab, hidden], labels [rows] int32, weights [rows] (1 / trained tokens of the
// step; 0 for a place that only fills the chunk). Outputs: nll [rows], dh [rows, hidden]. When the head is
// trained, two more inputs are the gradients of norm and head so far, and two more outputs those with this
// chunk added.
func headGraph(cfg *model.Config, in []*Node) []*Node {
	if len(in) == 5 {
		return frozenHead(cfg, in)
	}
	return trainedHead(cfg, in)
}

// frozenHead is [headGraph] for a head that is not trained. It never holds the logits of the whole vocabulary: it takes
// piece by piece and keeps, of each row, the largest logit so far, Σ exp(logit − largest) and Σ exp(logit − largest)·W, which
// are scaled when a larger one comes (the online softmax of Milakov and Gimelshein 2018).
//
// nll = log Σ exp(logits) − logits[label]; its gradient to the row is Σ softmax·W − W[label].
func frozenHead(cfg *model.Config, in []*Node) []*Node {
	h, norm, head, labels, weights := in[0], in[1], in[2], in[3], in[4]
	rows, hidden, vocab := h.Shape().Dim(0), h.Shape().Dim(1), head.Shape().Dim(0)
	normed := model.RMSNorm(h, norm, cfg.Eps)
	along := func(column *Node, width int) *Node { return BroadcastToDims(column, rows, width) }

	var top, sum, drawn *Node // [rows, 1], [rows, 1], [rows, hidden]
	piece := pieceOf(rows, vocab)
	for at := 0; at < vocab; at += piece {
		words := head
		if piece < vocab {
			words = Slice(head, AxisRange(at, min(at+piece, vocab)))
		}
		logits := model.HeadProduct(normed, words)
		largest := ReduceAndKeep(logits, ReduceMax, 1)
		if top != nil {
			largest = Max(largest, top)
		}
		exp := Exp(Sub(logits, along(largest, words.Shape().Dim(0))))
		part, pull := ReduceAndKeep(exp, ReduceSum, 1), model.PullHeadProduct(exp, words)
		if top == nil {
			sum, drawn = part, pull
		} else {
			shrink := Exp(Sub(top, largest))
			sum, drawn = Add(Mul(sum, shrink), part), Add(Mul(drawn, along(shrink, hidden)), pull)
		}
		top = largest
	}
	word := ConvertDType(Gather(head, ExpandAxes(labels, 1)), dtypes.Float32)
	atLabel := ReduceSum(Mul(model.HeadRounded(normed, head), word), 1)
	nll := Sub(Reshape(Add(Log(sum), top), rows), atLabel)
	nll = Where(GreaterThan(weights, ZerosLike(weights)), nll, ZerosLike(nll))

	dNormed := Mul(Sub(Div(drawn, along(sum, hidden)), word), along(ExpandAxes(weights, 1), hidden))
	return []*Node{nll, pull([]*Node{normed}, []*Node{dNormed}, []*Node{h})[0]}
}

// trainedHead is [headGraph] for a head that is trained.
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
