package trainer

import (
	"context"
	"errors"
	"sync"
	"time"

	"descant/pkg/bus"
	"descant/pkg/pb"
	"descant/pkg/stage"
)

// reporter publishes step and eval events beside the training, so that a slow or absent server does not slow
// the steps. What cannot be sent waits; when too much waits, the oldest is dropped and counted.
type reporter struct {
	attempt *stage.Attempt
	every   int // a step event each so many steps

	mu      sync.Mutex
	waiting []*pb.Event
	dropped int
	latest  *pb.Step
	// evaluated is the last evaluation.
	evaluated *pb.Evaluation
	wake      chan struct{}
}

const mostWaiting = 10_000

// sendingTime bounds the sending of one event.
const sendingTime = 10 * time.Second

func newReporter(a *stage.Attempt, every int) *reporter {
	// Until the first step the last one is that of the checkpoint from which the training goes on.
	return &reporter{attempt: a, every: every, latest: a.Job().GetProgress(), wake: make(chan struct{}, 1)}
}

// step takes a step that is done.
func (r *reporter) step(step *pb.Step) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latest = step
	if int(step.GetStep())%r.every != 0 && step.GetStep() != 1 && step.GetStep() != step.GetTotal() {
		return
	}
	r.add(&pb.Event{Type: bus.EventStep, Step: step})
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
			if errors.Is(err, stage.ErrLost) || errors.Is(err, stage.ErrCancelled) || errors.Is(err, stage.ErrPaused) {
				return
			}
			if ctx.Err() != nil {
				return // the rest is flushed when the training has ended
			}
			r.attempt.Log().Warn("step events wait for the server", "error", err)
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

// flush sends what is waiting, in order.
func (r *reporter) flush(ctx context.Context) error {
	for {
		r.mu.Lock()
		if len(r.waiting) == 0 {
			r.mu.Unlock()
			return nil
		}
		event := r.waiting[0]
		r.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.send(ctx, event); err != nil {
			return err
		}
		r.mu.Lock()
		if len(r.waiting) > 0 && r.waiting[0] == event {
			r.waiting = r.waiting[1:]
		}
		r.mu.Unlock()
	}
}

// send waits for an event that is on its way even when ctx ends: given up half-way, it could be stored and then
// be sent a second time.
func (r *reporter) send(ctx context.Context, event *pb.Event) error {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), sendingTime)
	defer done()
	return r.attempt.Emit(ctx, event)
}
