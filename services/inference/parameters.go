package inference

import (
	"fmt"
	"strconv"

	"descant/pkg/generate"
	"descant/pkg/grammar"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// maxChoices is the most that n may be.
const maxChoices = 128

// badRequest is a request with these problems.
func badRequest(problems []job.Problem) *job.Error {
	return job.UserError(job.CodeBadRequest, "the request cannot be answered", "correct the fields; docs/sampling.md describes them", problems...)
}

// request is what the engine is asked for the first choice, and the automaton of the constraint, if there is one; all
// problems of the fields are one error.
func (l *language) request(req *pb.ChatRequest, adapter string, prompt []int32) (generate.Request, *grammar.Automaton, error) {
	out := generate.Request{
		Adapter: adapter, Prompt: prompt, MaxTokens: int(req.GetMaxTokens()), MinTokens: int(req.GetMinTokens()),
		Sampling: l.sampling(req), StopIDs: req.GetStopTokenIds(), Logprobs: req.GetLogprobs(), TopLogprobs: int(req.GetTopLogprobs()),
	}
	problems := l.fieldProblems(req)
	f, wrong := formOf(req)
	var automaton *grammar.Automaton
	if len(wrong) == 0 {
		automaton, wrong = l.automaton(f)
	}
	if automaton != nil {
		out.Constraint = automaton.Start()
	}
	problems = append(problems, wrong...)
	if !req.GetIgnoreEos() {
		out.StopIDs = append(append([]int32(nil), out.StopIDs...), l.tokenizer.EOS()...)
	}
	problems = append(problems, out.Problems(l.tokenizer.VocabSize())...)
	if len(problems) > 0 {
		return out, nil, badRequest(problems)
	}
	return out, automaton, nil
}

// fieldProblems looks at what the engine does not know of.
func (l *language) fieldProblems(req *pb.ChatRequest) (problems []job.Problem) {
	problem := func(field, found, reason, next string) {
		problems = append(problems, job.Problem{Field: field, Found: found, Reason: reason, Next: next})
	}
	if req.GetN() > maxChoices {
		problem("n", strconv.Itoa(int(req.GetN())), "is too large", fmt.Sprintf("ask for at most %d choices at once", maxChoices))
	}
	for i, stop := range req.GetStop() {
		if stop == "" {
			problem(fmt.Sprintf("stop[%d]", i), "", "is empty", "give a text, or leave it out")
		}
	}
	for i, id := range req.GetStopTokenIds() {
		if int(id) >= l.tokenizer.VocabSize() {
			problem(fmt.Sprintf("stop_token_ids[%d]", i), strconv.Itoa(int(id)), "is no token of the model", "give ids of its tokenizer")
		}
	}
	return problems
}
