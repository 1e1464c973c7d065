package train

import (
	"fmt"

	"descant/pkg/model"

	. "github.com/gomlx/gomlx/core/graph"
)

// frozenHead is final norm, head, cross-entropy and its gradient for one chunk of places where the head is not trained. It never
// holds the logits of the whole vocabulary: it takes piece by piece and keeps, of each row, the largest logit so far,
// Σ exp(logit − largest) and Σ exp(logit − largest)·W, which are scaled when a larger one comes (the online softmax of Milakov and
// Gimelshein 2018). Each piece is an execution of its own, because within one XLA computes the logits of all of them first.
//
// nll = log Σ exp(logits) − logits[label]; its gradient to the row is Σ softmax·W − W[label].
type frozenHead struct {
	cfg *model.Config
	// gradient says that it is wanted.
	gradient bool
}

// online is what is kept of the pieces so far: top and sum [rows, 1], and with the gradient drawn [rows, hidden].
type online []*Node

// pieceElements bounds the logits that [frozenHead] has at one time, of which there are two or three copies: 4 million are 17 MB. A step on a row of
// 128 tokens takes as long with 20 million at once, and the process 20 to 90 MB more.
const pieceElements = 4 << 20

// pieceOf is the number of words of the vocabulary that [frozenHead] takes at one time: equal pieces, multiples of 128.
func pieceOf(rows, vocab int) int {
	pieces := (rows*vocab + pieceElements - 1) / pieceElements
	return min(vocab, roundUp((vocab+pieces-1)/pieces, 128))
}

// whole builds all of it for a vocabulary of one piece. Inputs: h [rows, hidden], norm [hidden], head [vocab, hidden], labels [rows]
// int32, weights [rows] (1 / trained tokens of the step; 0 for a place that only fills the chunk). Outputs: nll [rows] and, with the
// gradient, dh [rows, hidden].
func (f frozenHead) whole(in []*Node) []*Node {
	h, norm, head := in[0], in[1], in[2]
	return f.finish(in[:5], f.add(nil, model.RMSNorm(h, norm, f.cfg.Eps), head))
}

// piece builds one of several pieces. Inputs: h, norm and some words of the head as of whole, and, but for the first piece, what is kept of those before.
// Output: the same with this piece.
func (f frozenHead) piece(in []*Node) []*Node {
	return f.add(in[3:], model.RMSNorm(in[0], in[1], f.cfg.Eps), in[2])
}

// end builds what follows the last piece. Inputs: those of whole, then what is kept. Outputs: those of whole.
func (f frozenHead) end(in []*Node) []*Node { return f.finish(in[:5], in[5:]) }

// add takes some words of the head [words, hidden].
func (f frozenHead) add(so online, normed, words *Node) online {
	rows, hidden := normed.Shape().Dim(0), normed.Shape().Dim(1)
	logits := model.HeadProduct(normed, words)
	top := ReduceAndKeep(logits, ReduceMax, 1)
	if len(so) > 0 {
		top = Max(top, so[0])
	}
	exp := Exp(Sub(logits, BroadcastToDims(top, rows, words.Shape().Dim(0))))
	now := online{top, ReduceAndKeep(exp, ReduceSum, 1)}
	if f.gradient {
		now = append(now, model.PullHeadProduct(exp, words))
	}
	if len(so) == 0 {
		return now
	}
	shrink := Exp(Sub(so[0], top))
	now[1] = Add(Mul(so[1], shrink), now[1])
	if f.gradient {
		now[2] = Add(Mul(so[2], BroadcastToDims(shrink, rows, hidden)), now[2])
	}
	return now
}

// finish gives losses and gradient.
func (f frozenHead) finish(in []*Node, all online) []*Node {
	h, norm, head, labels, weights := in[0], in[1], in[2], in[3], in[4]
	top, sum := all[0], all[1]
	rows, hidden := h.Shape().Dim(0), h.Shape().Dim(1)
	normed := model.RMSNorm(h, norm, f.cfg.Eps)
	word := model.Embed(head, labels)
	atLabel := ReduceSum(Mul(model.HeadRounded(normed, head), word), 1)
	nll := Sub(Reshape(Add(Log(sum), top), rows), atLabel)
	nll = Where(GreaterThan(weights, ZerosLike(weights)), nll, ZerosLike(nll))
	if !f.gradient {
		return []*Node{nll}
	}
	drawn := Div(all[2], BroadcastToDims(sum, rows, hidden))
	dNormed := Mul(Sub(drawn, word), BroadcastToDims(ExpandAxes(weights, 1), rows, hidden))
	return []*Node{nll, pull([]*Node{normed}, []*Node{dNormed}, []*Node{h})[0]}
}

// run computes a chunk: nll [rows] and, with the gradient, dh [rows, hidden].
func (f frozenHead) run(e *engine, h *headInput) ([]*model.Array, error) {
	name := fmt.Sprintf("head gradient %t", f.gradient)
	rows, vocab := h.picked.Shape().Dim(0), e.output().Shape().Dim(0)
	inputs := []*model.Array{h.picked, e.finalNorm(), e.output(), h.labels, h.weights}
	words := pieceOf(rows, vocab)
	if words == vocab {
		return e.run(name, f.whole, inputs...)
	}
	var so []*model.Array
	for at := 0; at < vocab; at += words {
		now, err := f.runPiece(e, name, inputs[:2], at, min(words, vocab-at), so)
		model.FreeAll(so...)
		if err != nil {
			return nil, err
		}
		so = now
	}
	defer model.FreeAll(so...)
	return e.run(name+" end", f.end, append(inputs, so...)...)
}

// runPiece computes the words of the vocabulary from at on, of h and norm.
func (f frozenHead) runPiece(e *engine, name string, inputs []*model.Array, at, words int, so []*model.Array) ([]*model.Array, error) {
	head, err := e.words(at, words)
	if err != nil {
		return nil, err
	}
	defer head.Free()
	return e.run(name+" piece", f.piece, append(append(inputs[:2:2], head), so...)...)
}

// words is the head's part for n words of the vocabulary: in the memory of the head, or copied where the device gives no view of it.
func (e *engine) words(from, n int) (*model.Array, error) {
	head := e.output()
	if part, err := head.Rows(from, from+n); part != nil || err != nil {
		return part, err
	}
	at, err := model.Upload(e.compiler.Backend(), []int32{int32(from)})
	if err != nil {
		return nil, err
	}
	defer at.Free()
	out, err := e.run(fmt.Sprintf("%d words", n), func(in []*Node) []*Node {
		return []*Node{DynamicSlice(in[0], []*Node{in[1], Const(in[1].Graph(), int32(0))}, []int{n, in[0].Shape().Dim(1)})}
	}, head, at)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}
