package generate

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Token is one token of an output.
type Token struct {
	ID int32
	// Logprob is the natural logarithm of the token's probability by the model as it is: the softmax of its logits
	// before any step of [Sampling]. It and Top are set only if [Request.Logprobs] is.
	Logprob float64
	// Top are the likeliest tokens at this place, the likeliest first, the lowest id first among equals.
	Top []Logprob
}

// Logprob is an id with the logarithm of its probability.
type Logprob struct {
	ID      int32
	Logprob float64
}

// Constraint says with which tokens an output may go on. It belongs to one request, which uses it from one goroutine
// at a time.
type Constraint interface {
	// Allowed returns a bit for each id that may come next (id is bit id%64 of word id/64; ids beyond the end may
	// not), valid until Accept, and whether the output may end here.
	Allowed() (ids []uint64, end bool)
	// Done says that the output is whole and nothing can follow.
	Done() bool
	// Accept moves on by an id that is allowed.
	Accept(id int32)
}

// ErrDeadEnd says that the constraint asks for text that no token of the vocabulary begins. It is an [ErrInvalid].
var ErrDeadEnd = fmt.Errorf("%w: no token of the vocabulary goes on as the constraint wants", ErrInvalid)

// sampler chooses the tokens of one output. What it does depends on the request and on the logits it was given, never
// on other requests.
type sampler struct {
	Sampling
	stops      []int32
	minTokens  int
	logprobs   bool
	top        int
	constraint Constraint

	// seen are the distinct ids of prompt and output; counts says how often each is in the output. Only what a penalty
	// needs is kept.
	seen   map[int32]bool
	counts map[int32]int
	taken  int
}

func newSampler(req *Request) *sampler {
	s := &sampler{Sampling: req.Sampling, stops: req.StopIDs, minTokens: req.MinTokens, logprobs: req.Logprobs,
		top: req.TopLogprobs, constraint: req.Constraint}
	if s.repeats() {
		s.seen = make(map[int32]bool, len(req.Prompt))
		for _, id := range req.Prompt {
			s.seen[id] = true
		}
	}
	if s.FrequencyPenalty != 0 || s.PresencePenalty != 0 {
		s.counts = map[int32]int{}
	}
	return s
}

func (s *sampler) repeats() bool { return s.RepetitionPenalty != 0 && s.RepetitionPenalty != 1 }

// next chooses the next token from logits [vocab], which it changes.
func (s *sampler) next(logits []float32) (Token, error) {
	for _, l := range logits {
		if l-l != 0 { // infinite or not a number
			return Token{}, errNotFinite
		}
	}
	var report *reporter
	if s.logprobs {
		report = newReporter(logits)
	}
	if err := s.restrict(logits); err != nil {
		return Token{}, err
	}
	s.bias(logits)
	s.penalize(logits)
	token := Token{}
	if s.Temperature == 0 {
		token.ID = best(logits)
	} else {
		token.ID = s.draw(logits)
	}
	if report != nil {
		token.Logprob, token.Top = report.logprob(token.ID), report.top(s.top)
	}
	s.took(token.ID)
	return token, nil
}

// errNotFinite ends a request whose logits are no numbers: nothing can be chosen by them. An adapter with huge weights, or
// one that was damaged, gives such.
var errNotFinite = errors.New("the model's logits are not finite: the adapter's weights are too large or damaged")

// took remembers a chosen token.
func (s *sampler) took(id int32) {
	s.taken++
	if s.seen != nil {
		s.seen[id] = true
	}
	if s.counts != nil {
		s.counts[id]++
	}
	if s.constraint != nil && !slices.Contains(s.stops, id) {
		s.constraint.Accept(id)
	}
}

// complete says that the constraint allows nothing more.
func (s *sampler) complete() bool { return s.constraint != nil && s.constraint.Done() }

func none(ids []uint64) bool {
	return !slices.ContainsFunc(ids, func(word uint64) bool { return word != 0 })
}

var impossible = float32(math.Inf(-1))

// restrict makes impossible what the constraint does not allow, and stop ids where the output may not end.
func (s *sampler) restrict(logits []float32) error {
	mayEnd := s.taken >= s.minTokens
	if s.constraint != nil {
		ids, end := s.constraint.Allowed()
		if none(ids) {
			if !end || len(s.stops) == 0 {
				return ErrDeadEnd
			}
			mayEnd = true // there is nothing else left
		}
		mayEnd = mayEnd && end
		kept := s.stopLogits(logits)
		for i := range logits {
			if i/64 >= len(ids) || ids[i/64]>>(i%64)&1 == 0 {
				logits[i] = impossible
			}
		}
		for i, id := range s.stops {
			if int(id) < len(logits) {
				logits[id] = kept[i]
			}
		}
	}
	if !mayEnd {
		for _, id := range s.stops {
			if int(id) < len(logits) {
				logits[id] = impossible
			}
		}
	}
	if s.constraint != nil || !mayEnd {
		if math.IsInf(float64(logits[best(logits)]), -1) {
			return ErrDeadEnd
		}
	}
	return nil
}

// stopLogits returns the logits of the stop ids.
func (s *sampler) stopLogits(logits []float32) []float32 {
	kept := make([]float32, len(s.stops))
	for i, id := range s.stops {
		if int(id) < len(logits) {
			kept[i] = logits[id]
		}
	}
	return kept
}

func (s *sampler) bias(logits []float32) {
	for id, bias := range s.LogitBias {
		if int(id) < len(logits) {
			logits[id] += float32(bias)
		}
	}
}

// penalize applies the three penalties.
func (s *sampler) penalize(logits []float32) {
	if s.repeats() {
		penalty := float32(s.RepetitionPenalty)
		for id := range s.seen {
			switch {
			case int(id) >= len(logits):
			case logits[id] > 0:
				logits[id] /= penalty
			default:
				logits[id] *= penalty
			}
		}
	}
	for id, count := range s.counts {
		logits[id] -= float32(s.FrequencyPenalty) * float32(count)
		logits[id] -= float32(s.PresencePenalty)
	}
}

// draw takes a point on the line of probabilities, laid out in the order of ids: rounding that swaps two nearly equal
// logits then moves no boundary by more than that rounding.
func (s *sampler) draw(logits []float32) int32 {
	scratch := borrow(len(logits))
	defer giveBack(scratch)
	kept := s.distribution(logits, *scratch)
	point := uniform(s.Seed, uint64(s.taken))
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
