package job

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Class says whose an error is, and with that what happens next.
type Class string

// The classes of errors.
const (
	// User errors are final: the same request would fail again. They say what to change.
	User Class = "user"
	// Infrastructure errors are tried again with a growing delay and cost no attempt.
	Infrastructure Class = "infrastructure"
	// Bug errors are final after MaxAttempts attempts and are kept for a developer.
	Bug Class = "bug"
)

// MaxAttempts is how often a job is tried when it fails with a bug.
const MaxAttempts = 3

// Code is the stable name of an error; programs compare it, messages may change.
type Code string

// The codes. docs/troubleshooting.md has each.
const (
	CodeBadRequest     Code = "bad_request"
	CodeBadDataset     Code = "bad_dataset"
	CodeDatasetMissing Code = "dataset_not_found"
	CodeBadModel       Code = "bad_model"
	CodeModelMissing   Code = "model_not_found"
	CodeNotFound       Code = "not_found"
	CodeConflict       Code = "conflict"
	CodeNonFinite      Code = "non_finite_loss"
	CodeSelfCheck      Code = "self_check_failed"
	CodeContextLength  Code = "context_length_exceeded"
	CodeStore          Code = "object_store_unavailable"
	CodeBus            Code = "bus_unavailable"
	CodeHub            Code = "hub_unavailable"
	CodeNotReady       Code = "not_ready"
	// CodeOverloaded: every place of every queue is taken; the same request may be sent again.
	CodeOverloaded Code = "overloaded"
	// CodeQueueTimeout: the request waited as long as it may, and got no place.
	CodeQueueTimeout Code = "queue_timeout"
	// CodeNoWorker: no worker is there that takes requests.
	CodeNoWorker Code = "no_worker"
	// CodeWorkerLost: the worker ended in the middle of an answer.
	CodeWorkerLost Code = "worker_lost"
	CodeInternal   Code = "internal"
)

// Error is an error as a person and a program see it: whose it is, its stable code, what happened,
// every problem with its place, and what to do.
type Error struct {
	Class    Class     `json:"class"`
	Code     Code      `json:"code"`
	Message  string    `json:"message"`
	Problems []Problem `json:"problems,omitempty"`
	Next     string    `json:"next,omitempty"`
	// RetryAfter is how long to wait before the same request is sent again; 0 says nothing.
	RetryAfter time.Duration `json:"-"`

	cause error
}

// Error returns the message, the problems and the next step as one text.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	for _, p := range e.Problems {
		b.WriteString("\n  ")
		b.WriteString(p.String())
	}
	if e.Next != "" {
		b.WriteString("; ")
		b.WriteString(e.Next)
	}
	return b.String()
}

// Unwrap returns the error that was wrapped, if there was one.
func (e *Error) Unwrap() error { return e.cause }

// UserError returns an error that is final and tells a person what to change.
func UserError(code Code, message, next string, problems ...Problem) *Error {
	return &Error{Class: User, Code: code, Message: message, Next: next, Problems: problems}
}

// InfrastructureError wraps an error of the network, the store or the bus.
func InfrastructureError(code Code, doing string, err error) *Error {
	return &Error{Class: Infrastructure, Code: code, Message: fmt.Sprintf("%s: %v", doing, err), cause: err}
}

// RefusedError is a request that found no place now and may find one later: nothing of it was begun.
func RefusedError(code Code, message, next string, after time.Duration) *Error {
	return &Error{Class: Infrastructure, Code: code, Message: message, Next: next, RetryAfter: after}
}

// BugError wraps an error that should not happen.
func BugError(doing string, err error) *Error {
	return &Error{Class: Bug, Code: CodeInternal, Message: fmt.Sprintf("%s: %v", doing, err), Next: "this is a mistake of descant; please report it with the service's log", cause: err}
}

// AsError classes any error: an *Error in the chain as it is, a context's end as infrastructure,
// anything else as a bug.
func AsError(doing string, err error) *Error {
	var classed *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &classed):
		return classed
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return InfrastructureError(CodeNotReady, doing, err)
	}
	return BugError(doing, err)
}
