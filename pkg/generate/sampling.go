package generate

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"descant/pkg/job"
)

// Sampling says how the next token is chosen from the logits. The zero value is greedy decoding.
//
// The steps, in this order, all on float32 logits:
//
//	constraint   what the constraint does not allow, and stop ids before MinTokens, can no longer be chosen
//	bias         LogitBias is added
//	penalties    repetition (as transformers has it), then frequency and presence (as OpenAI defines them)
//	temperature  0 ends here: the best token is taken
//	top-k, top-p, min-p
//
// The first three are in the order of vLLM's sampler, the last four in that of transformers' generate(do_sample=True);
// a neutral value leaves its step out.
type Sampling struct {
	// Temperature divides the logits; 0 takes the best token instead of sampling.
	Temperature float64 `json:"temperature,omitempty"`
	// TopK keeps the ids whose logit is not below the k-th largest. 0 is off.
	TopK int `json:"top_k,omitempty"`
	// TopP keeps the smallest set of best ids whose probability reaches p. 0 and 1 are off.
	TopP float64 `json:"top_p,omitempty"`
	// MinP keeps the ids whose probability is at least MinP times the largest. 0 is off.
	MinP float64 `json:"min_p,omitempty"`
	// RepetitionPenalty divides positive and multiplies negative logits of the ids of prompt and output so far, each
	// id once (Keskar et al. 2019, CTRL). 0 and 1 are off.
	RepetitionPenalty float64 `json:"repetition_penalty,omitempty"`
	// FrequencyPenalty is taken off the logit of an id once for each time that it is in the output so far.
	FrequencyPenalty float64 `json:"frequency_penalty,omitempty"`
	// PresencePenalty is taken off the logit of every id that is in the output so far.
	PresencePenalty float64 `json:"presence_penalty,omitempty"`
	// LogitBias is added to the logits of ids.
	LogitBias map[int32]float64 `json:"logit_bias,omitempty"`
	// Seed makes the choice repeatable: the n-th token depends on the logits, the seed and n alone.
	Seed uint64 `json:"seed,omitempty"`
}

// Validate lists what is out of range.
func (s Sampling) Validate() []job.Problem {
	var problems []job.Problem
	check := func(ok bool, name string, value any, want string) {
		if !ok {
			problems = append(problems, job.Problem{Field: name, Found: fmt.Sprint(value), Reason: "is out of range", Next: want})
		}
	}
	// What logits are divided by must leave them finite in float32.
	divides := func(x float64) bool { return x == 0 || x >= 1e-9 && x <= 1e9 }
	check(divides(s.Temperature), "temperature", s.Temperature, "give 0 (greedy) or a value from 1e-9 to 1e9")
	check(s.TopK >= 0, "top_k", s.TopK, "give 0 (off) or more")
	check(s.TopP >= 0 && s.TopP <= 1, "top_p", s.TopP, "give a value from 0 to 1")
	check(s.MinP >= 0 && s.MinP <= 1, "min_p", s.MinP, "give a value from 0 to 1")
	check(divides(s.RepetitionPenalty), "repetition_penalty", s.RepetitionPenalty, "give a value from 1e-9 to 1e9, 1 is neutral")
	check(math.Abs(s.FrequencyPenalty) <= 2, "frequency_penalty", s.FrequencyPenalty, "give a value from -2 to 2")
	check(math.Abs(s.PresencePenalty) <= 2, "presence_penalty", s.PresencePenalty, "give a value from -2 to 2")
	for _, id := range slices.Sorted(maps.Keys(s.LogitBias)) {
		check(math.Abs(s.LogitBias[id]) <= 100, "logit_bias["+strconv.Itoa(int(id))+"]", s.LogitBias[id], "give a value from -100 to 100")
	}
	return problems
}
