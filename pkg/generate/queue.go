package generate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Errors of requests that got no row.
var (
	// ErrBusy: the queue is full. The same request may be sent again later, or elsewhere. The error is a [BusyError].
	ErrBusy = errors.New("too many requests are waiting")
	// ErrLate: no row became free in time. The error is a [LateError].
	ErrLate = errors.New("no room became free in time")
)

// BusyError is a request that found the queue full.
type BusyError struct{ Waiting int }

func (e *BusyError) Error() string {
	return fmt.Sprintf("%v: %d are ahead, and no more may wait here: try again later", ErrBusy, e.Waiting)
}

// Is makes a BusyError an [ErrBusy].
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// LateError is a request that waited too long for a row.
type LateError struct{ Waited, Limit time.Duration }

func (e *LateError) Error() string {
	return fmt.Sprintf("%v: waited %s, the limit is %s: try again later", ErrLate, e.Waited.Round(time.Millisecond), e.Limit)
}

// Is makes a LateError an [ErrLate].
func (e *LateError) Is(target error) bool { return target == ErrLate }

// queue holds the sequences that wait for a row, in the order of their arrival. Its methods are called with the
// engine's mutex held.
type queue struct {
	list []*sequence
	// turn counts the rows that were given away, base is the turn of the last request without an adapter.
	turn, base int
}

// last is the turn in which a request with the same adapter last got a row.
func (q *queue) last(s *sequence) *int {
	if s.adapter == nil {
		return &q.base
	}
	return &s.adapter.turn
}

// pop takes the first sequence of the adapter whose last turn was the longest ago: a flood of requests for one adapter
// leaves the others their share.
func (q *queue) pop() *sequence {
	at := 0
	for i, s := range q.list {
		if *q.last(s) < *q.last(q.list[at]) {
			at = i
		}
	}
	s := q.list[at]
	q.list = slices.Delete(q.list, at, at+1)
	q.turn++
	*q.last(s) = q.turn
	return s
}

// drop takes out the sequences that there is a reason for.
func (q *queue) drop(reason func(*sequence) error) map[*sequence]error {
	var gone map[*sequence]error
	q.list = slices.DeleteFunc(q.list, func(s *sequence) bool {
		err := reason(s)
		if err != nil {
			if gone == nil {
				gone = map[*sequence]error{}
			}
			gone[s] = err
		}
		return err != nil
	})
	return gone
}

// submit puts a request into the queue.
func (e *Engine) submit(ctx context.Context, req Request) (*sequence, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	// Those who will get a free row in the loop's next turn do not wait.
	if n := len(e.waiting.list); n >= e.opts.MaxWaiting+e.opts.MaxRows-e.stats.Rows {
		return nil, &BusyError{Waiting: n}
	}
	var a *adapter
	if req.Adapter != "" {
		if a = e.adapters.byKey[req.Adapter]; a == nil {
			return nil, fmt.Errorf("%w: %q is not loaded here", ErrUnknownAdapter, req.Adapter)
		}
		a.users++
	}
	seq := newSequence(ctx, req, a)
	e.waiting.list = append(e.waiting.list, seq)
	// A cancelled request must leave the queue even while the loop sleeps in a long step or has no free row.
	context.AfterFunc(ctx, e.signal)
	e.signal()
	return seq, nil
}
