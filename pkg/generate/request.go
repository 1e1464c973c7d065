package generate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"descant/pkg/job"
)

// Request is one prompt to continue.
type Request struct {
	// Adapter is the key of a loaded adapter, "" for the bare base.
	Adapter string
	// Prompt holds the token ids to continue; at least one.
	Prompt []int32
	// MaxTokens bounds the output. 0 takes whatever room the context has left.
	MaxTokens int
	Sampling  Sampling
	// StopIDs end the output when one of them is chosen; it is not part of what emit gets.
	StopIDs []int32
	// MinTokens is the number of tokens before which no stop id can be chosen. A constraint that allows nothing else
	// ends the output all the same.
	MinTokens int
	// Logprobs has every token come with its log-probability, and with those of the TopLogprobs likeliest ones.
	Logprobs    bool
	TopLogprobs int
	// Constraint narrows the choice; nil leaves it free. The output ends by itself where the constraint allows nothing
	// more, and stop ids can be chosen only where it may end.
	Constraint Constraint
	// Speculation says whether several tokens may be computed at once where the text repeats what it said before. It
	// changes no token.
	Speculation Speculation
	// probe, if not nil, gets the logits behind the prompt, [vocab], and no token is chosen.
	probe func(logits []float32)
}

// MaxTopLogprobs is the most that [Request.TopLogprobs] may be.
const MaxTopLogprobs = 20

// Reasons why an output ended.
const (
	// ReasonStop: a stop id was chosen, or the constraint allows nothing more.
	ReasonStop = "stop"
	// ReasonLength: MaxTokens were generated, or the context is full.
	ReasonLength = "length"
)

// Finish tells how an output ended.
type Finish struct {
	// Reason is [ReasonStop] or [ReasonLength].
	Reason string
	// StopID is the id that ended the output, -1 if none did.
	StopID int32
	// PromptTokens is the length of the prompt; CompletionTokens counts the generated tokens, a stop id included.
	PromptTokens, CompletionTokens int
	// CachedTokens of the prompt were not computed for this request, since their keys and values were kept.
	CachedTokens int
}

// Errors of [Engine.Generate]; the message says which value is wrong and what would be right.
var (
	// ErrInvalid: the request is wrong and will stay so.
	ErrInvalid = errors.New("invalid request")
	// ErrUnknownAdapter: no adapter is loaded under that key.
	ErrUnknownAdapter = errors.New("unknown adapter")
	// ErrClosed: the engine is closed or closing.
	ErrClosed = errors.New("engine is closed")
)

// ContextError is a request that does not fit into the context.
type ContextError struct {
	Prompt, MaxTokens, Context int
}

func (e *ContextError) Error() string {
	if e.Prompt >= e.Context {
		return fmt.Sprintf("the prompt has %d tokens, but the context holds %d and at least one is for the answer: shorten "+
			"the prompt", e.Prompt, e.Context)
	}
	return fmt.Sprintf("prompt (%d tokens) and max_tokens (%d) are %d together, but the context holds %d: shorten the "+
		"prompt or ask for at most %d tokens", e.Prompt, e.MaxTokens, e.Prompt+e.MaxTokens, e.Context, e.Context-e.Prompt)
}

// Is makes a ContextError an [ErrInvalid].
func (e *ContextError) Is(target error) bool { return target == ErrInvalid }

// InvalidError lists everything that is wrong with a request.
type InvalidError struct{ Problems []job.Problem }

func (e *InvalidError) Error() string {
	return fmt.Sprintf("%v: %v", ErrInvalid, job.Problems(e.Problems))
}

// Is makes an InvalidError an [ErrInvalid].
func (e *InvalidError) Is(target error) bool { return target == ErrInvalid }

// check refuses what cannot be served and sets MaxTokens where it is 0.
func (r *Request) check(vocab, context int) error {
	if problems := r.Problems(vocab); len(problems) > 0 {
		return &InvalidError{problems}
	}
	if err := r.Fits(context); err != nil {
		return err
	}
	if r.MaxTokens == 0 {
		r.MaxTokens = context - len(r.Prompt)
	}
	return nil
}

// Fits refuses a request that a context of so many tokens cannot hold, with a [ContextError].
func (r *Request) Fits(context int) error {
	if len(r.Prompt) >= context || len(r.Prompt)+r.MaxTokens > context {
		return &ContextError{Prompt: len(r.Prompt), MaxTokens: r.MaxTokens, Context: context}
	}
	return nil
}

// Problems lists what is wrong with the request for a base with vocab ids, by the names that requests have on the wire.
func (r *Request) Problems(vocab int) []job.Problem {
	problems := append(r.checkTokens(vocab), r.Sampling.Validate()...)
	problem := func(field string, found int, reason, next string) {
		problems = append(problems, job.Problem{Field: field, Found: strconv.Itoa(found), Reason: reason, Next: next})
	}
	if r.MaxTokens < 0 {
		problem("max_tokens", r.MaxTokens, "is negative", "give 0 (all that fit) or more")
	}
	if r.MinTokens < 0 || r.MaxTokens > 0 && r.MinTokens > r.MaxTokens {
		problem("min_tokens", r.MinTokens, "is out of range", "give a value from 0 to max_tokens")
	}
	if r.TopLogprobs < 0 || r.TopLogprobs > MaxTopLogprobs {
		problem("top_logprobs", r.TopLogprobs, "is out of range", fmt.Sprintf("give a value from 0 to %d", MaxTopLogprobs))
	}
	if r.TopLogprobs > 0 && !r.Logprobs {
		problem("top_logprobs", r.TopLogprobs, "is given without logprobs", "set logprobs to true")
	}
	if r.Constraint != nil && r.Constraint.Done() {
		problems = append(problems, job.Problem{Reason: "the constraint allows only the empty output", Next: "allow some text, or leave it out"})
	}
	return problems
}

// checkTokens looks for ids that the base does not have.
func (r *Request) checkTokens(vocab int) (problems []job.Problem) {
	if len(r.Prompt) == 0 {
		problems = append(problems, job.Problem{Field: "prompt", Reason: "the prompt is empty", Next: "give at least one token"})
	}
	outside := func(field string, id int32) bool {
		if id >= 0 && int(id) < vocab {
			return false
		}
		problems = append(problems, job.Problem{Field: field, Found: strconv.Itoa(int(id)),
			Reason: fmt.Sprintf("is outside the vocabulary of %d ids", vocab), Next: "is the tokenizer the base's?"})
		return true
	}
	for i, id := range r.Prompt {
		if outside(fmt.Sprintf("prompt[%d]", i), id) {
			break
		}
	}
	for _, id := range slices.Sorted(maps.Keys(r.Sampling.LogitBias)) {
		outside("logit_bias", id)
	}
	for i, id := range r.StopIDs {
		if id < 0 {
			outside(fmt.Sprintf("stop_token_ids[%d]", i), id)
		}
	}
	return problems
}

// Generate continues the prompt and calls emit with each token as it comes, in the goroutine of the caller; a slow
// emit delays nobody else. It returns when the output ends, when emit returns an error (which is returned), or
// within one step of the end of ctx.
//
// Any number of calls may run at the same time; those beyond the engine's rows wait for a free one (see [Options]): those of one
// adapter in order, the adapters in turn.
func (e *Engine) Generate(ctx context.Context, req Request, emit func(Token) error) (Finish, error) {
	if err := req.check(e.vocab, e.opts.MaxContext); err != nil {
		return Finish{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seq, err := e.submit(ctx, req)
	if err != nil {
		return Finish{}, err
	}
	for token := range seq.out {
		if err := emit(token); err != nil {
			cancel()
			<-seq.done
			return seq.finish, err
		}
	}
	<-seq.done
	return seq.finish, seq.err
}
