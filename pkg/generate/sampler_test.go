package generate

import (
	"errors"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPenalties follows the formulas of the documentation by hand: OpenAI's frequency and presence, CTRL's repetition,
// and a bias, in their order.
func TestPenalties(t *testing.T) {
	t.Parallel()
	logits := []float32{2, -2, 1, 0.5, -1, 3}
	s := newSampler(&Request{Prompt: []int32{0, 1, 0}, Sampling: Sampling{
		RepetitionPenalty: 2, FrequencyPenalty: 0.5, PresencePenalty: 0.25, LogitBias: map[int32]float64{0: 2, 3: -1, 5: -4}}})
	for _, id := range []int32{1, 2, 2, 2} {
		s.took(id)
	}
	s.bias(logits)
	s.penalize(logits)
	want := []float32{
		(2 + 2) / 2,                 // biased, then halved: it is in the prompt
		-2*2 - 0.5*1 - 0.25,         // in prompt and output: doubled once, then once in the output
		1/float32(2) - 0.5*3 - 0.25, // three times in the output
		0.5 - 1,                     // only biased
		-1,
		3 - 4,
	}
	if !slices.Equal(logits, want) {
		t.Errorf("%v, want %v", logits, want)
	}
}

func TestMinTokensKeepsStopIDsAway(t *testing.T) {
	t.Parallel()
	s := newSampler(&Request{StopIDs: []int32{1, 3, 99}, MinTokens: 2})
	var got []int32
	for range 3 {
		token, err := s.next([]float32{0, 9, 1, 8})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, token.ID)
	}
	if want := []int32{2, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestLogprobsAreThoseOfTheModel compares with a softmax written down, whatever the sampling does to the logits.
func TestLogprobsAreThoseOfTheModel(t *testing.T) {
	t.Parallel()
	logits := []float32{1, 3, 3, -2, 0}
	var sum float64
	for _, l := range logits {
		sum += math.Exp(float64(l))
	}
	logprob := func(id int32) float64 { return math.Log(math.Exp(float64(logits[id])) / sum) }
	s := newSampler(&Request{Logprobs: true, TopLogprobs: 3, Sampling: Sampling{LogitBias: map[int32]float64{4: 50}, Temperature: 0.5}})
	token, err := s.next(slices.Clone(logits))
	if err != nil {
		t.Fatal(err)
	}
	if token.ID != 4 || math.Abs(token.Logprob-logprob(4)) > 1e-9 {
		t.Errorf("%+v, want id 4 with %g", token, logprob(4))
	}
	for i, id := range []int32{1, 2, 0} {
		if top := token.Top[i]; len(token.Top) != 3 || top.ID != id || math.Abs(top.Logprob-logprob(id)) > 1e-9 {
			t.Errorf("top %v, want id %d with %g at %d", token.Top, id, logprob(id), i)
		}
	}
}

// TestDistributionAgainstSorting compares with the definitions written down as a sort of all ids, on vocabularies with
// many equal logits.
func TestDistributionAgainstSorting(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		logits := make([]float32, 1+random.IntN(200))
		for i := range logits {
			logits[i] = float32(random.IntN(40)) / 4
		}
		s := Sampling{Temperature: 0.25 + random.Float64()*2, TopK: random.IntN(20), TopP: random.Float64(), MinP: random.Float64() / 4}
		want := sorted(s, logits)
		got := map[int32]float64{}
		for _, c := range s.distribution(slices.Clone(logits), nil) {
			got[c.id] = c.prob
		}
		if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
			t.Fatalf("%+v of %v keeps %v, want %v", s, logits, got, want)
		}
		for id, p := range want {
			if math.Abs(p-got[id]) > 1e-9 {
				t.Errorf("%+v: id %d has %g, want %g", s, id, got[id], p)
			}
		}
	}
}

// sorted is top-k, top-p and min-p by sorting.
func sorted(s Sampling, logits []float32) map[int32]float64 {
	ids := make([]int32, len(logits))
	scaled := make([]float32, len(logits))
	for i, l := range logits {
		ids[i], scaled[i] = int32(i), l/float32(s.Temperature)
	}
	slices.SortStableFunc(ids, func(a, b int32) int {
		switch {
		case scaled[a] > scaled[b]:
			return -1
		case scaled[a] < scaled[b]:
			return 1
		}
		return 0
	})
	softmax := func(ids []int32) map[int32]float64 {
		probs, sum := map[int32]float64{}, 0.0
		for _, id := range ids {
			probs[id] = math.Exp(float64(scaled[id] - scaled[ids[0]]))
			sum += probs[id]
		}
		for id := range probs {
			probs[id] /= sum
		}
		return probs
	}
	if s.TopK > 0 && s.TopK < len(ids) {
		last := scaled[ids[s.TopK-1]]
		ids = slices.DeleteFunc(ids, func(id int32) bool { return scaled[id] < last })
	}
	probs, sum := softmax(ids), 0.0
	for i, id := range ids {
		if sum += probs[id]; s.TopP > 0 && sum >= s.TopP {
			ids = ids[:i+1]
			break
		}
	}
	most := probs[ids[0]]
	ids = slices.DeleteFunc(ids, func(id int32) bool { return probs[id] < s.MinP*most })
	return softmax(ids)
}

// TestDrawsFollowTheDistribution draws often and compares shares.
func TestDrawsFollowTheDistribution(t *testing.T) {
	t.Parallel()
	logits := []float32{0, float32(math.Log(2)), float32(math.Log(5)), -100}
	count := make([]int, 4)
	const draws = 40000
	s := newSampler(&Request{Sampling: Sampling{Temperature: 1, Seed: 3}})
	for range draws {
		token, err := s.next(slices.Clone(logits))
		if err != nil {
			t.Fatal(err)
		}
		count[token.ID]++
	}
	for id, p := range []float64{1. / 8, 2. / 8, 5. / 8, 0} {
		if share := float64(count[id]) / draws; math.Abs(share-p) > 0.01 {
			t.Errorf("id %d was drawn in %g of all cases, want %g", id, share, p)
		}
	}
}

// letters is a constraint that allows one set of ids after the other and the end behind the last.
type letters struct {
	sets [][]int32
	at   int
}

func (l *letters) Allowed() ([]uint64, bool) {
	ids := make([]uint64, 1)
	if l.at < len(l.sets) {
		for _, id := range l.sets[l.at] {
			ids[0] |= 1 << id
		}
	}
	return ids, l.at >= len(l.sets)
}

func (l *letters) Done() bool { return l.at >= len(l.sets) }

func (l *letters) Accept(int32) { l.at++ }

func TestConstraintNarrowsTheChoice(t *testing.T) {
	t.Parallel()
	logits := []float32{9, 8, 7, 6}
	for _, c := range []struct {
		name string
		req  Request
		want []int32
	}{
		{"greedy", Request{Constraint: &letters{sets: [][]int32{{2, 3}, {3}}}}, []int32{2, 3}},
		{"sampled", Request{Sampling: Sampling{Temperature: 5, TopK: 2}, Constraint: &letters{sets: [][]int32{{3}, {1}}}}, []int32{3, 1}},
		{"a bias allows nothing", Request{Sampling: Sampling{LogitBias: map[int32]float64{0: 100}}, Constraint: &letters{sets: [][]int32{{1}}}}, []int32{1}},
		{"no stop id in the middle", Request{StopIDs: []int32{0}, Constraint: &letters{sets: [][]int32{{0, 1}}}}, []int32{1}},
		{"the end comes before min_tokens", Request{MinTokens: 5, Constraint: &letters{sets: [][]int32{{1}}}}, []int32{1}},
	} {
		s := newSampler(&c.req)
		var got []int32
		for !s.complete() {
			token, err := s.next(slices.Clone(logits))
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			got = append(got, token.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	s := newSampler(&Request{Constraint: &letters{sets: [][]int32{{}}}})
	if _, err := s.next(slices.Clone(logits)); !errors.Is(err, ErrDeadEnd) || !errors.Is(err, ErrInvalid) {
		t.Errorf("error %v where nothing is allowed", err)
	}
}

func TestEveryProblemOfARequestIsTold(t *testing.T) {
	t.Parallel()
	req := Request{Prompt: []int32{1}, MaxTokens: 3, MinTokens: 4, TopLogprobs: 21, StopIDs: []int32{-1},
		Sampling: Sampling{Temperature: math.NaN(), TopK: -1, TopP: 1.5, MinP: -1, RepetitionPenalty: math.Inf(1),
			FrequencyPenalty: 3, PresencePenalty: -3, LogitBias: map[int32]float64{50: 1, 2: 101}},
		Constraint: &letters{}}
	var wrong *InvalidError
	if err := req.check(50, 100); !errors.As(err, &wrong) {
		t.Fatalf("error %v", err)
	}
	var fields []string
	for _, p := range wrong.Problems {
		fields = append(fields, p.Field)
		if p.Reason == "" || p.Next == "" {
			t.Errorf("%+v does not say enough", p)
		}
	}
	want := []string{"logit_bias", "stop_token_ids[0]", "temperature", "top_k", "top_p", "min_p", "repetition_penalty",
		"frequency_penalty", "presence_penalty", "logit_bias[2]", "min_tokens", "top_logprobs", "top_logprobs", ""}
	if !slices.Equal(fields, want) {
		t.Errorf("fields %v, want %v", fields, want)
	}
}

// TestLogitsThatAreNoNumbers end the request they belong to, whatever it samples by.
func TestLogitsThatAreNoNumbers(t *testing.T) {
	t.Parallel()
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		for _, sampling := range []Sampling{{}, {Temperature: 1, TopP: 0.9}, {Temperature: 1e-9, MinP: 0.5}} {
			if token, err := newSampler(&Request{Prompt: []int32{1}, Sampling: sampling}).next([]float32{0, bad, 2}); !errors.Is(err, errNotFinite) {
				t.Errorf("%v with %+v chose %d, error %v", bad, sampling, token.ID, err)
			}
		}
	}
	for _, least := range []float64{1e-9, 1e9} {
		s := Sampling{Temperature: least, TopP: 0.9, RepetitionPenalty: least}
		if problems := s.Validate(); len(problems) > 0 {
			t.Errorf("%g is refused: %v", least, problems)
		}
		if token, err := newSampler(&Request{Prompt: []int32{1}, Sampling: s}).next([]float32{-1000, 3, 1000}); err != nil || token.ID < 0 {
			t.Errorf("%g chose %d, error %v", least, token.ID, err)
		}
	}
	if problems := (Sampling{Temperature: 1e-39, RepetitionPenalty: 1e-50}).Validate(); len(problems) != 2 {
		t.Errorf("problems %v", problems)
	}
}
