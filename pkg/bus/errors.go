package bus

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotFound: there is no such job, key or worker.
	ErrNotFound = errors.New("not found")
	// ErrExists: what should be created is there already.
	ErrExists = errors.New("already exists")
	// ErrStale: somebody else has changed the record since it was read. Whoever
	// was working on it must stop and leave it alone.
	ErrStale = errors.New("changed by somebody else since it was read")
	// ErrNoResponders: nobody listens on the subject of a request.
	ErrNoResponders = errors.New("nobody answers on this subject")
)

// stale maps the server's answers to a failed condition onto ErrStale.
func stale(err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant) {
		return fmt.Errorf("%w (%s)", ErrStale, api.Description)
	}
	return err
}

func responders(err error) error {
	if errors.Is(err, nats.ErrNoResponders) {
		return ErrNoResponders
	}
	return err
}

// retry, release and discard are outcomes of a handler other than success.
type (
	retry struct {
		err   error
		after time.Duration
	}
	release struct{}
	discard struct{ err error }
)

func (e *retry) Error() string { return e.err.Error() }
func (e *retry) Unwrap() error { return e.err }

func (*release) Error() string { return "released for another worker" }

func (e *discard) Error() string { return e.err.Error() }
func (e *discard) Unwrap() error { return e.err }

// Retry is the outcome of work that should run again after a delay, however
// often it has run: for infrastructure errors, and for attempts that the job's
// own record counts.
func Retry(err error, after time.Duration) error { return &retry{err, after} }

// Release is the outcome of work that was interrupted by the end of its worker
// and should go to another one at once.
func Release() error { return &release{} }

// Discard is the outcome of work that can never succeed: it becomes a dead
// letter at once.
func Discard(err error) error { return &discard{err} }
