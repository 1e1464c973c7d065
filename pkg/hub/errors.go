package hub

import "errors"

// Kinds of errors, to be told apart with errors.Is.
var (
	// ErrNotFound: there is no such model, revision or folder.
	ErrNotFound = errors.New("model not found")
	// ErrInvalid: the name is malformed or not allowed, or the files are not those of a usable model.
	ErrInvalid = errors.New("not a usable model")
	// ErrDenied: the hub refuses access, for example to a gated model.
	ErrDenied = errors.New("access denied")
	// ErrUnavailable: the hub or the store cannot be reached; trying again later may help.
	ErrUnavailable = errors.New("not reachable")
)

// Error says what is wrong with a model and what to do next.
type Error struct {
	Kind  error  // one of the kinds above
	Model string // the name that was asked for
	What  string // the reason
	Next  string // the next step
	Err   error  // the cause, or nil
}

func (e *Error) Error() string {
	text := "model " + e.Model + ": " + e.What
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	if e.Next != "" {
		text += ". " + e.Next
	}
	return text
}

// Unwrap gives the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}
