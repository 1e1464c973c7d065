package generate

import (
	"cmp"
	"math"
	"slices"
)

// reporter tells the log-probabilities of logits that the sampler is going to change.
type reporter struct {
	logits []float32
	// total is the logarithm of the sum of the exponentials of all logits.
	total float64
}

func newReporter(logits []float32) *reporter {
	r := &reporter{logits: slices.Clone(logits)}
	top := float64(slices.Max(logits))
	sum := 0.0
	for _, l := range logits {
		sum += math.Exp(float64(l) - top)
	}
	r.total = top + math.Log(sum)
	return r
}

func (r *reporter) logprob(id int32) float64 { return float64(r.logits[id]) - r.total }

// top lists the n likeliest ids.
func (r *reporter) top(n int) []Logprob {
	if n = min(n, len(r.logits)); n == 0 {
		return nil
	}
	limit := kthLargest(r.logits, n)
	var list []Logprob
	for id, l := range r.logits {
		if l >= limit {
			list = append(list, Logprob{int32(id), float64(l) - r.total})
		}
	}
	slices.SortFunc(list, func(a, b Logprob) int { return cmp.Or(cmp.Compare(b.Logprob, a.Logprob), cmp.Compare(a.ID, b.ID)) })
	return list[:n]
}
