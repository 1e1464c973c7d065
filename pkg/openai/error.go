package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"descant/pkg/bus"
	"descant/pkg/job"
)

// Types of errors, as the API names them.
const (
	TypeInvalidRequest = "invalid_request_error"
	TypeAuthentication = "authentication_error"
	TypePermission     = "permission_error"
	TypeRateLimit      = "rate_limit_error"
	TypeServer         = "server_error"
)

// Codes of errors that belong to this side alone; all others are those of package job. docs/troubleshooting.md has each.
const (
	CodeUnknownParameter     = "unknown_parameter"
	CodeUnsupportedParameter = "unsupported_parameter"
	CodeMissingParameter     = "missing_required_parameter"
	CodeInvalidValue         = "invalid_value"
	CodeInvalidJSON          = "invalid_json"
	CodeInvalidAPIKey        = "invalid_api_key"
	CodeModelNotFound        = "model_not_found"
	CodeTimeout              = "timeout"
	CodeTooLarge             = "request_too_large"
	CodeMediaType            = "unsupported_media_type"
	CodeUnknownURL           = "unknown_url"
	CodeMethodNotAllowed     = "method_not_allowed"
	CodeMissingScope         = "missing_scope"
	CodeHostNotAllowed       = "host_not_allowed"
	CodeOriginNotAllowed     = "origin_not_allowed"
)

// Error is an error as the API shows it.
type Error struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
	// Problems are all that is wrong, where that is more than Param can say: lines of a file, several fields.
	Problems []Problem `json:"problems,omitempty"`

	// Status is the HTTP status.
	Status int `json:"-"`
	// RetryAfter is when to try again, in seconds; 0 says nothing.
	RetryAfter int `json:"-"`
}

// Problem is one of several things that are wrong.
type Problem struct {
	Param    string `json:"param,omitempty"`
	Line     int    `json:"line,omitempty"`
	Message  string `json:"message"`
	NextStep string `json:"next_step,omitempty"`
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Invalid is a request that has to change: 400.
func Invalid(param, code, format string, args ...any) *Error {
	return newError(http.StatusBadRequest, TypeInvalidRequest, param, code, fmt.Sprintf(format, args...))
}

// NotFound is a thing that is not there: 404.
func NotFound(param, code, format string, args ...any) *Error {
	return newError(http.StatusNotFound, TypeInvalidRequest, param, code, fmt.Sprintf(format, args...))
}

func newError(status int, typ, param, code, message string) *Error {
	e := &Error{Status: status, Type: typ, Message: message}
	if param != "" {
		e.Param = &param
	}
	if code != "" {
		e.Code = &code
	}
	return e
}

// AsError turns any error into what the API shows. Whose error it is decides the status: 4xx the caller's, 503 with
// Retry-After the infrastructure's, 500 ours. SDKs try 408, 409, 429 and 5xx again by themselves, so what would fail
// again in the same way is 400 or 404.
func AsError(err error) *Error {
	var ready *Error
	if errors.As(err, &ready) {
		return ready
	}
	var failure *bus.Failure
	if errors.As(err, &failure) {
		return fromJob(job.FromProto(failure.Detail))
	}
	var classed *job.Error
	if errors.As(err, &classed) {
		return fromJob(classed)
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return newError(http.StatusRequestEntityTooLarge, TypeInvalidRequest, "", CodeTooLarge, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit))
	case errors.Is(err, bus.ErrNoResponders):
		return fromJob(job.RefusedError(job.CodeNoWorker, "no inference worker is there", "start one (`descant inference`), or try again when one is up", 5*time.Second))
	case errors.Is(err, bus.ErrSilent), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return newError(http.StatusGatewayTimeout, TypeServer, "", CodeTimeout, err.Error()+"; try again")
	}
	return fromJob(job.AsError("answer the request", err))
}

// fromJob maps the error classes of package job.
func fromJob(e *job.Error) *Error {
	status, typ, retry := http.StatusInternalServerError, TypeServer, int((e.RetryAfter+time.Second-1)/time.Second)
	switch {
	case e.Code == job.CodeOverloaded:
		status, typ = http.StatusTooManyRequests, TypeRateLimit
	case e.Class == job.Infrastructure:
		status, retry = http.StatusServiceUnavailable, max(retry, 1)
	case e.Class != job.User:
	case e.Code == job.CodeNotFound, e.Code == job.CodeModelMissing:
		status, typ = http.StatusNotFound, TypeInvalidRequest
	default:
		status, typ = http.StatusBadRequest, TypeInvalidRequest
	}
	param := ""
	if len(e.Problems) > 0 {
		param = e.Problems[0].Field
	}
	out := newError(status, typ, param, string(e.Code), e.Error()) // with every problem and the next step
	out.RetryAfter = retry
	for _, p := range e.Problems {
		out.Problems = append(out.Problems, Problem{Param: p.Field, Line: p.Line, Message: p.Message(), NextStep: p.Next})
	}
	return out
}

// AsModelError is [AsError] for an error about the model that a request names.
func AsModelError(err error) *Error {
	e := *AsError(err)
	if e.Status == http.StatusNotFound {
		param, code := "model", CodeModelNotFound
		e.Param, e.Code = &param, &code
	}
	return &e
}

// WriteError answers a request with an error.
func WriteError(w http.ResponseWriter, err error) {
	e := AsError(err)
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.RetryAfter))
	}
	WriteJSON(w, e.Status, map[string]*Error{"error": e})
}

// WriteJSON answers a request with an object.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the answer cannot be written as JSON", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the client may be gone
}
