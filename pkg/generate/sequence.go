package generate

import (
	"context"
	"slices"
	"time"
)

// sequence is a request on its way through the loop. Only the loop touches it after [Engine.submit]; finish and err
// may be read after done is closed.
type sequence struct {
	ctx     context.Context
	req     Request
	adapter *adapter // nil for the base
	// ids are the prompt and the output so far; cached of them have their keys and values in the cache.
	ids    []int32
	cached int
	// row of the cache, -1 while waiting.
	row     int
	sampler *sampler
	// since when it waits, and how often other prompts have gone first.
	since  time.Time
	passed int
	// gain is how many tokens a draft brings, on average.
	gain float64
	// out has room for the whole output, so that the loop never waits for a reader.
	out    chan Token
	done   chan struct{}
	finish Finish
	err    error
}

func newSequence(ctx context.Context, req Request, a *adapter) *sequence {
	ids := make([]int32, len(req.Prompt), len(req.Prompt)+req.MaxTokens)
	copy(ids, req.Prompt)
	return &sequence{
		ctx: ctx, req: req, adapter: a, ids: ids, row: -1, sampler: newSampler(&req), since: time.Now(), gain: draftTokens + 1,
		out: make(chan Token, req.MaxTokens), done: make(chan struct{}),
		finish: Finish{StopID: -1, PromptTokens: len(req.Prompt)},
	}
}

// prefilling says that more than the newest token still has to go through the model.
func (s *sequence) prefilling() bool {
	return len(s.ids)-s.cached > 1 || len(s.ids) == len(s.req.Prompt)
}

// length is the number of tokens that the rotary embedding of the next step goes by: the whole prompt for every chunk of
// it, then the tokens up to the newest.
func (s *sequence) length() int { return max(len(s.req.Prompt), s.cached+1) }

// digest names whose keys and values the sequence has.
func (s *sequence) digest() string {
	if s.adapter == nil {
		return ""
	}
	return s.adapter.digest
}

// take chooses the next token from logits [vocab] and says whether the output ends with it.
func (s *sequence) take(logits []float32) (ended bool, err error) {
	token, err := s.sampler.next(logits)
	if err != nil {
		return false, err
	}
	s.finish.CompletionTokens++
	if slices.Contains(s.req.StopIDs, token.ID) {
		s.finish.Reason, s.finish.StopID = ReasonStop, token.ID
		return true, nil
	}
	s.ids = append(s.ids, token.ID)
	s.out <- token
	switch {
	case s.sampler.complete():
		s.finish.Reason = ReasonStop
	case s.finish.CompletionTokens == s.req.MaxTokens:
		s.finish.Reason = ReasonLength
	default:
		return false, nil
	}
	return true, nil
}

// end tells the waiting Generate.
func (s *sequence) end(err error) {
	s.err = err
	close(s.out)
	close(s.done)
}
