package generate

import (
	"cmp"
	"math"
	"slices"
	"sync"
)

// candidate is an id that may still be chosen.
type candidate struct {
	id    int32
	logit float32
	prob  float64
}

// pool keeps the memory of distributions, which is as large as the vocabulary.
var pool = sync.Pool{New: func() any { return new([]candidate) }}

func borrow(size int) *[]candidate {
	scratch := pool.Get().(*[]candidate)
	if cap(*scratch) < size {
		*scratch = make([]candidate, 0, size)
	}
	return scratch
}

func giveBack(scratch *[]candidate) { pool.Put(scratch) }

// distribution gives the ids that remain after temperature, top-k, top-p and min-p, in ascending order, with their
// probabilities. It changes logits and uses the memory of scratch.
func (s *Sampling) distribution(logits []float32, scratch []candidate) []candidate {
	if temperature := float32(s.Temperature); temperature != 0 && temperature != 1 {
		for i := range logits {
			logits[i] /= temperature
		}
	}
	limit := impossible
	if s.TopK > 0 && s.TopK < len(logits) {
		limit = kthLargest(logits, s.TopK)
	}
	kept := scratch[:0]
	for i, l := range logits {
		if l >= limit && l > impossible { // ties of the k-th largest stay, as in the reference
			kept = append(kept, candidate{id: int32(i), logit: l})
		}
	}
	normalize(kept)
	kept = s.topP(kept)
	kept = s.minP(kept)
	normalize(kept)
	return kept
}

// kthLargest is the k-th largest of values: the smallest on a heap of k that keeps what is larger than it.
func kthLargest(values []float32, k int) float32 {
	heap := slices.Clone(values[:k])
	down := func(at int) {
		for {
			child := 2*at + 1
			if child >= k {
				return
			}
			if child+1 < k && heap[child+1] < heap[child] {
				child++
			}
			if heap[at] <= heap[child] {
				return
			}
			heap[at], heap[child] = heap[child], heap[at]
			at = child
		}
	}
	for at := k/2 - 1; at >= 0; at-- {
		down(at)
	}
	for _, v := range values[k:] {
		if v > heap[0] {
			heap[0] = v
			down(0)
		}
	}
	return heap[0]
}

// topP takes best ids, the lowest first among equals, until their probability reaches p. Most of the probability is
// mostly in few ids, so ever more of them are sorted until they are enough.
func (s *Sampling) topP(kept []candidate) []candidate {
	if s.TopP == 0 || s.TopP >= 1 {
		return kept
	}
	var most float64
	for _, c := range kept {
		most = max(most, c.prob)
	}
	for limit := most / 64; ; limit /= 64 {
		if limit < most/1e12 {
			limit = 0
		}
		var chosen []candidate
		for _, c := range kept {
			if c.prob >= limit {
				chosen = append(chosen, c)
			}
		}
		slices.SortFunc(chosen, func(a, b candidate) int {
			return cmp.Or(cmp.Compare(b.logit, a.logit), cmp.Compare(a.id, b.id))
		})
		sum := 0.0
		for i, c := range chosen {
			if sum += c.prob; sum >= s.TopP {
				return byID(chosen[:i+1])
			}
		}
		if limit == 0 { // rounding: all of them together do not reach p
			return byID(chosen)
		}
	}
}

func byID(list []candidate) []candidate {
	slices.SortFunc(list, func(a, b candidate) int { return cmp.Compare(a.id, b.id) })
	return list
}

func (s *Sampling) minP(kept []candidate) []candidate {
	if s.MinP == 0 {
		return kept
	}
	var most float64
	for _, c := range kept {
		most = max(most, c.prob)
	}
	return slices.DeleteFunc(kept, func(c candidate) bool { return c.prob < s.MinP*most })
}

// normalize sets the probabilities: softmax of the logits that are left.
func normalize(kept []candidate) {
	top := kept[0].logit
	for _, c := range kept {
		top = max(top, c.logit)
	}
	var sum float64
	for i, c := range kept {
		kept[i].prob = math.Exp(float64(c.logit - top))
		sum += kept[i].prob
	}
	for i := range kept {
		kept[i].prob /= sum
	}
}
