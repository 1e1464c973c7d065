package generate

import (
	"container/heap"
	"fmt"
	"math"
	"slices"
)

// Sampling says how the next token is chosen from the logits. The zero value is greedy decoding.
//
// The steps are those of transformers' generate(do_sample=True), in its order: repetition penalty, temperature,
// top-k, top-p, min-p; a neutral value leaves its step out.
type Sampling struct {
	// Temperature divides the logits; 0 takes the best token (after the repetition penalty) instead of sampling.
	Temperature float64 `json:"temperature,omitempty"`
	// TopK keeps the ids whose logit is not below the k-th largest. 0 is off.
	TopK int `json:"top_k,omitempty"`
	// TopP keeps the smallest set of best ids whose probability reaches p. 0 and 1 are off.
	TopP float64 `json:"top_p,omitempty"`
	// MinP keeps the ids whose probability is at least MinP times the largest. 0 is off.
	MinP float64 `json:"min_p,omitempty"`
	// RepetitionPenalty divides positive and multiplies negative logits of the ids of prompt and output so far.
	// 0 and 1 are off.
	RepetitionPenalty float64 `json:"repetition_penalty,omitempty"`
	// Seed makes the choice repeatable: the n-th token depends on the logits, the seed and n alone.
	Seed uint64 `json:"seed,omitempty"`
}

// Validate lists what is out of range.
func (s Sampling) Validate() []string {
	var problems []string
	check := func(ok bool, name string, value any, want string) {
		if !ok {
			problems = append(problems, fmt.Sprintf("%s is %v: %s", name, value, want))
		}
	}
	finite := func(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
	check(finite(s.Temperature) && s.Temperature >= 0, "temperature", s.Temperature, "give 0 (greedy) or more")
	check(s.TopK >= 0, "top_k", s.TopK, "give 0 (off) or more")
	check(s.TopP >= 0 && s.TopP <= 1, "top_p", s.TopP, "give a value from 0 to 1")
	check(s.MinP >= 0 && s.MinP <= 1, "min_p", s.MinP, "give a value from 0 to 1")
	check(finite(s.RepetitionPenalty) && s.RepetitionPenalty >= 0, "repetition_penalty", s.RepetitionPenalty,
		"give a value above 0, 1 is neutral")
	return problems
}

// candidate is an id that may still be chosen.
type candidate struct {
	id    int32
	logit float32
	prob  float64
}

// next chooses the token after ids (prompt and output so far) from logits [vocab]; step counts the tokens of the
// output. logits may be changed.
func (s Sampling) next(logits []float32, ids []int32, step int) int32 {
	s.penalize(logits, ids)
	if s.Temperature == 0 {
		return best(logits)
	}
	kept := s.distribution(logits)
	// A point on the line of probabilities, laid out in the order of ids: rounding that swaps two nearly equal
	// logits then moves no boundary by more than that rounding.
	point := uniform(s.Seed, uint64(step))
	for _, c := range kept {
		if point -= c.prob; point < 0 {
			return c.id
		}
	}
	return kept[len(kept)-1].id
}

// best is the id of the largest logit, the lowest id where several are equal.
func best(logits []float32) int32 {
	at := 0
	for i, l := range logits {
		if l > logits[at] {
			at = i
		}
	}
	return int32(at)
}

// penalize applies the repetition penalty once to every distinct id.
func (s Sampling) penalize(logits []float32, ids []int32) {
	if s.RepetitionPenalty == 0 || s.RepetitionPenalty == 1 {
		return
	}
	penalty := float32(s.RepetitionPenalty)
	seen := make(map[int32]bool, len(ids))
	for _, id := range ids {
		if seen[id] || int(id) >= len(logits) {
			continue
		}
		seen[id] = true
		if logits[id] > 0 {
			logits[id] /= penalty
		} else {
			logits[id] *= penalty
		}
	}
}

// distribution gives the ids that remain after all steps, in ascending order, with their probabilities.
func (s Sampling) distribution(logits []float32) []candidate {
	kept := make([]candidate, len(logits))
	temperature := float32(s.Temperature)
	if temperature == 0 {
		temperature = 1
	}
	for i, l := range logits {
		kept[i] = candidate{id: int32(i), logit: l / temperature}
	}
	kept = s.topK(kept)
	normalize(kept)
	kept = s.topP(kept)
	kept = s.minP(kept)
	normalize(kept)
	return kept
}

// topK keeps ties of the k-th largest, as the reference does.
func (s Sampling) topK(kept []candidate) []candidate {
	if s.TopK == 0 || s.TopK >= len(kept) {
		return kept
	}
	largest := make(ranking, len(kept))
	copy(largest, kept)
	heap.Init(&largest)
	for range s.TopK - 1 {
		heap.Pop(&largest)
	}
	limit := largest[0].logit
	return slices.DeleteFunc(kept, func(c candidate) bool { return c.logit < limit })
}

// topP takes best ids until their probability reaches p.
func (s Sampling) topP(kept []candidate) []candidate {
	if s.TopP == 0 || s.TopP >= 1 {
		return kept
	}
	rest := make(ranking, len(kept))
	copy(rest, kept)
	heap.Init(&rest)
	var chosen []candidate
	for sum := 0.0; len(rest) > 0 && (len(chosen) == 0 || sum < s.TopP); {
		c := heap.Pop(&rest).(candidate)
		chosen = append(chosen, c)
		sum += c.prob
	}
	slices.SortFunc(chosen, func(a, b candidate) int { return int(a.id) - int(b.id) })
	return chosen
}

func (s Sampling) minP(kept []candidate) []candidate {
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

// ranking is a heap with the largest logit on top, the lowest id first among equals.
type ranking []candidate

func (r ranking) Len() int { return len(r) }
func (r ranking) Less(i, j int) bool {
	return r[i].logit > r[j].logit || r[i].logit == r[j].logit && r[i].id < r[j].id
}
func (r ranking) Swap(i, j int) { r[i], r[j] = r[j], r[i] }
func (r *ranking) Push(x any)   { *r = append(*r, x.(candidate)) }
func (r *ranking) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}

// uniform is a number in [0, 1) that depends on seed and counter alone (the finalizer of SplitMix64, Steele, Lea
// and Flood 2014): a request may be stopped, moved and continued without a generator's state.
func uniform(seed, counter uint64) float64 {
	mix := func(z uint64) uint64 {
		z += 0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
	return float64(mix(mix(seed)^mix(^counter))>>11) / (1 << 53)
}
