package generate

import (
	"slices"
	"time"
)

// Speculation is whether drafts are made: the tokens that followed the last two or three where these stood before in
// prompt or output ("prompt lookup"). The model computes a draft in one step, and each of its tokens counts only if the
// one before it led to it, so that the output is what it would have been, for sampling as for greedy decoding.
type Speculation int

const (
	// SpeculationAuto makes drafts where they pay: while few rows decode, and as long as what they bring is more than what
	// they cost here. Both are measured.
	SpeculationAuto Speculation = iota
	// SpeculationOn makes a draft whenever there is one.
	SpeculationOn
	// SpeculationOff makes none.
	SpeculationOff
)

// draftTokens is [Options.DraftTokens] where nothing is said; MaxDraftTokens is the most that it may be: a draft and the
// token before it are fewer than the shortest chunk of a prompt.
const (
	draftTokens    = 7
	MaxDraftTokens = 15
)

// pace holds average durations, in seconds, of steps with one row: of one token, and of a draft. 0 is not measured yet.
type pace struct{ token, draft float64 }

// average moves an average a quarter of the way.
func average(value *float64, to float64) {
	if *value == 0 {
		*value = to
	}
	*value += (to - *value) / 4
}

// lookUp finds what followed the last tokens where they stood before, the newest place first: up to most tokens, nil if
// there is no such place.
func lookUp(ids []int32, most int) []int32 {
	for _, n := range []int{3, 2} {
		if len(ids) <= n {
			continue
		}
		last := ids[len(ids)-n:]
		for at := len(ids) - n - 1; at >= 0; at-- {
			if slices.Equal(ids[at:at+n], last) {
				return ids[at+n : min(at+n+most, len(ids))]
			}
		}
	}
	return nil
}

// draft proposes tokens for a sequence that decodes beside others, nil if none or if it would not pay.
func (e *Engine) draft(s *sequence, rows int) []int32 {
	most := min(e.opts.DraftTokens, s.req.MaxTokens-s.finish.CompletionTokens-1)
	if s.req.Speculation == SpeculationOff || most < 1 || !e.steps.base.Config.Rope.Fixed(len(s.ids)+most) {
		return nil
	}
	// More rows than these share a step: taking one out saves nothing.
	if s.req.Speculation == SpeculationAuto && rows > max(1, e.steps.inTurn) {
		return nil
	}
	found := lookUp(s.ids, most)
	if found != nil && s.req.Speculation == SpeculationAuto && s.gain*e.pace.token < e.pace.draft {
		// It may pay again later in the text.
		s.gain += 0.05
		return nil
	}
	return slices.Clone(found) // the ids that it lies in grow
}

// speculate computes a draft, and says whether it could.
func (e *Engine) speculate(rows []*sequence, s *sequence, draft []int32) bool {
	start := time.Now()
	logits, err := e.steps.verify(s, draft, longest(rows))
	if err != nil {
		e.fail(rows, []*sequence{s}, err)
		return true
	}
	if logits == nil {
		return false
	}
	average(&e.pace.draft, time.Since(start).Seconds())
	taken := 0
	for i := range logits {
		e.steps.advance(s, 1)
		taken++
		if e.take(rows, s, logits[i]) || i == len(draft) || s.ids[len(s.ids)-1] != draft[i] {
			break
		}
	}
	average(&s.gain, float64(taken))
	e.count(1, 0, int64(taken))
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.DraftedTokens += int64(len(draft))
	e.stats.AcceptedTokens += int64(taken - 1)
	return true
}
