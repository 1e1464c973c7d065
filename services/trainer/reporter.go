package trainer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"descant/pkg/bus"
	"descant/pkg/pb"
	"descant/pkg/stage"
)

// reporter publishes step and eval events beside the training, so that a slow or absent server does not slow
// the steps. What cannot be sent waits; when too much waits, the oldest is dropped and an event tells how many were.
// Before a checkpoint is recorded the training waits for [reporter.flush]: the steps up to it will never run again.
type reporter struct {
	emit  func(context.Context, *pb.Event) error // see [stage.Attempt.Emit]
	log   *slog.Logger
	every int // a step event each so many steps

	// sending is held while events are sent, so that each is sent once and in order.
	sending sync.Mutex

	mu      sync.Mutex
	waiting []*pb.Event
	dropped int // and not told yet
	told    int // of dropped, by the event that is on its way
	latest  *pb.Step
	untold  bool // latest was done here, and left out
	// evaluated is the last evaluation.
	evaluated *pb.Evaluation
	wake      chan struct{}
}

const mostWaiting = 10_000

// sendingTime bounds the sending of one event.
const sendingTime = 10 * time.Second

func newReporter(a *stage.Attempt, every int) *reporter {
	// Until the first step the last one is that of the checkpoint from which the training goes on.
	return &reporter{emit: a.Emit, log: a.Log(), every: every, latest: a.Job().GetProgress(), wake: make(chan struct{}, 1)}
}

// step takes a step that is done.
func (r *reporter) step(step *pb.Step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest = step
	r.untold = int(step.GetStep())%r.every != 0 && step.GetStep() != 1 && step.GetStep() != step.GetTotal()
	if !r.untold {
		r.add(&pb.Event{Type: bus.EventStep, Step: step})
	}
}

// last tells the step with which a training ended, which early stopping may have done at any.
func (r *reporter) last() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.untold {
		r.untold = false
		r.add(&pb.Event{Type: bus.EventStep, Step: r.latest})
	}
}

// evaluation takes an evaluation that is done.
func (r *reporter) evaluation(e *pb.Evaluation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.evaluated = e
	r.add(&pb.Event{Type: bus.EventEval, Evaluation: e})
}

// add queues an event; r.mu is held.
func (r *reporter) add(event *pb.Event) {
	if len(r.waiting) == mostWaiting {
		r.waiting = r.waiting[1:]
		r.dropped++
	}
	r.waiting = append(r.waiting, event)
	select {
	case r.wake <- struct{}{}:
	default: // it is awake
	}
}

// progress is the last step that was done, in this attempt or before, or nil.
func (r *reporter) progress() *pb.Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.latest
}

// lastEvaluation is the last evaluation that was done, or nil.
func (r *reporter) lastEvaluation() *pb.Evaluation {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.evaluated
}

// run sends until ctx ends.
func (r *reporter) run(ctx context.Context) {
	for {
		if err := r.flush(ctx); err != nil {
			if errors.Is(err, stage.ErrLost) || errors.Is(err, stage.ErrCancelled) {
				return
			}
			if ctx.Err() != nil {
				return // the rest is flushed when the training has ended
			}
			r.log.Warn("step events wait for the server", "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
	}
}

// flush returns when everything is stored that was reported before, or with the first error.
func (r *reporter) flush(ctx context.Context) error {
	r.sending.Lock()
	defer r.sending.Unlock()
	for {
		event := r.next()
		if event == nil {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.send(ctx, event); err != nil {
			return err
		}
		r.sent(event)
	}
}

// next is the event to send now, or nil. After a gap it is one that tells of the gap.
func (r *reporter) next() *pb.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		return nil
	}
	if r.told = r.dropped; r.told > 0 {
		return &pb.Event{Type: bus.EventLog, Level: "warn", Message: fmt.Sprintf(
			"%d step and eval events were dropped, as the server was away for too long: the curves have a gap here", r.told)}
	}
	return r.waiting[0]
}

// sent takes an event off the list, unless it was dropped meanwhile.
func (r *reporter) sent(event *pb.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped -= r.told
	r.told = 0
	if len(r.waiting) > 0 && r.waiting[0] == event {
		r.waiting = r.waiting[1:]
	}
}

// send waits for an event that is on its way even when ctx ends: given up half-way, it could be stored and then
// be sent a second time. A job that a person has just paused still finishes its step, which is told, too.
func (r *reporter) send(ctx context.Context, event *pb.Event) error {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), sendingTime)
	defer done()
	err := r.emit(ctx, event)
	if errors.Is(err, stage.ErrPaused) {
		err = r.emit(ctx, event)
	}
	return err
}
