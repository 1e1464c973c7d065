package generate

import (
	"context"
	"errors"
	"fmt"
	"strings"
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
}

// Reasons why an output ended.
const (
	// ReasonStop: a stop id was chosen.
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

// check refuses what cannot be served and sets MaxTokens where it is 0.
func (r *Request) check(vocab, context int) error {
	problems := r.Sampling.Validate()
	if len(r.Prompt) == 0 {
		problems = append(problems, "prompt is empty: give at least one token")
	}
	for i, id := range r.Prompt {
		if id < 0 || int(id) >= vocab {
			problems = append(problems, fmt.Sprintf("prompt token %d is %d, outside the vocabulary of %d ids: is the "+
				"tokenizer the base's?", i, id, vocab))
			break
		}
	}
	if r.MaxTokens < 0 {
		problems = append(problems, fmt.Sprintf("max_tokens is %d: give 0 (all that fit) or more", r.MaxTokens))
	}
	if len(problems) > 0 {
		return fmt.Errorf("%w: %s", ErrInvalid, strings.Join(problems, "; "))
	}
	if len(r.Prompt) >= context || len(r.Prompt)+r.MaxTokens > context {
		return &ContextError{Prompt: len(r.Prompt), MaxTokens: r.MaxTokens, Context: context}
	}
	if r.MaxTokens == 0 {
		r.MaxTokens = context - len(r.Prompt)
	}
	return nil
}

// Generate continues the prompt and calls emit with each token as it comes, in the goroutine of the caller; a slow
// emit delays nobody else. It returns when the output ends, when emit returns an error (which is returned), or
// within one step of the end of ctx.
//
// Any number of calls may run at the same time; those beyond the engine's rows wait for a free one, in order.
func (e *Engine) Generate(ctx context.Context, req Request, emit func(id int32) error) (Finish, error) {
	if err := req.check(e.vocab, e.opts.MaxContext); err != nil {
		return Finish{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	seq, err := e.submit(ctx, req)
	if err != nil {
		return Finish{}, err
	}
	for id := range seq.out {
		if err := emit(id); err != nil {
			cancel()
			<-seq.done
			return Finish{}, err
		}
	}
	<-seq.done
	return seq.finish, seq.err
}
