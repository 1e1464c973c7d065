package blob

import (
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/minio/minio-go/v7"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotFound: there is no object under the key.
	ErrNotFound = errors.New("not found")
	// ErrExists: a create-only put found an object under the key.
	ErrExists = errors.New("already exists")
	// ErrDigest: the bytes are not those that the digest names.
	ErrDigest = errors.New("digest does not match")
	// ErrDenied: the store refuses the credentials or the operation.
	ErrDenied = errors.New("access denied")
	// ErrUnavailable: the store cannot be reached or is overloaded; trying
	// again later may help.
	ErrUnavailable = errors.New("object store unavailable")
)

// Error is a failed operation on an object. It matches one of the sentinels
// above by errors.Is.
type Error struct {
	Op   string // put, get, stat, list, delete
	Key  string
	Kind error // one of the sentinels, or nil
	Err  error // what the store said
}

func (e *Error) Error() string {
	if e.Kind == nil {
		return fmt.Sprintf("%s object %q: %v", e.Op, e.Key, e.Err)
	}
	if e.Err == nil || errors.Is(e.Kind, e.Err) {
		return fmt.Sprintf("%s object %q: %v", e.Op, e.Key, e.Kind)
	}
	return fmt.Sprintf("%s object %q: %v: %v", e.Op, e.Key, e.Kind, e.Err)
}

// Unwrap gives the sentinel and the cause.
func (e *Error) Unwrap() []error {
	errs := make([]error, 0, 2)
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// wrap turns what minio-go returned into an *Error; nil stays nil.
func wrap(op, key string, err error) error {
	if err == nil {
		return nil
	}
	var done *Error
	if errors.As(err, &done) {
		return err
	}
	return &Error{Op: op, Key: key, Kind: kind(err), Err: err}
}

func kind(err error) error {
	var answer minio.ErrorResponse
	if errors.As(err, &answer) {
		switch answer.Code {
		case "NoSuchKey", "NoSuchBucket", "NotFound":
			return ErrNotFound
		case "PreconditionFailed", "ConditionalRequestConflict":
			return ErrExists
		case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch":
			return ErrDenied
		case "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout":
			return ErrUnavailable
		}
		switch {
		case answer.StatusCode == http.StatusNotFound:
			return ErrNotFound
		case answer.StatusCode == http.StatusPreconditionFailed, answer.StatusCode == http.StatusConflict:
			return ErrExists
		case answer.StatusCode == http.StatusForbidden:
			return ErrDenied
		case answer.StatusCode >= 500:
			return ErrUnavailable
		}
		return nil
	}
	var network net.Error
	if errors.As(err, &network) {
		return ErrUnavailable
	}
	return nil
}
