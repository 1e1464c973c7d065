package bus

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"descant/pkg/pb"
)

// Emit publishes an event of a job for a worker that knows the job as rec, or
// returns [ErrStale] if the job has changed since: then it belongs to another.
func (b *Bus) Emit(ctx context.Context, rec Record, event *pb.Event) error {
	msg, err := eventMessage(rec.Job.GetId(), rec.Job.GetEpoch(), event, time.Now())
	if err != nil {
		return err
	}
	fence(msg, rec)
	if _, err := b.publish(ctx, []*nats.Msg{msg}); err != nil {
		return fmt.Errorf("emit %s event of job %s: %w", event.GetType(), rec.Job.GetId(), stale(err))
	}
	return nil
}

// Reject publishes why a request did not become a job, on
// finetune.events.<id>.rejected. The id is the caller's, for instance a digest
// of the request.
func (b *Bus) Reject(ctx context.Context, id string, why *pb.Error) error {
	event := &pb.Event{Type: EventRejected, Error: why, Message: why.GetMessage()}
	msg, err := eventMessage(id, 0, event, time.Now())
	if err != nil {
		return err
	}
	if _, err := b.publish(ctx, []*nats.Msg{msg}); err != nil {
		return fmt.Errorf("reject request %s: %w", id, err)
	}
	return nil
}

// FollowOptions says which events to follow.
type FollowOptions struct {
	// From is the first sequence wanted; 0 is the first there is.
	From uint64
	// Past stops after the newest event instead of waiting for more.
	Past bool
	// Live starts with the next event; From does not count then.
	Live bool
}

// Follow yields the events of a job, or of all jobs for "*", in order, until
// ctx ends. Each has its sequence, from which a later Follow can go on.
func (b *Bus) Follow(ctx context.Context, job string, opts FollowOptions) iter.Seq2[*pb.Event, error] {
	return func(yield func(*pb.Event, error) bool) {
		if job != "*" {
			if err := checkToken("job id", job); err != nil {
				yield(nil, err)
				return
			}
		}
		from := jetstream.OrderedConsumerConfig{FilterSubjects: []string{EventsSubject(job)}}
		switch {
		case opts.Live:
			from.DeliverPolicy = jetstream.DeliverNewPolicy
		case opts.From > 0:
			from.DeliverPolicy, from.OptStartSeq = jetstream.DeliverByStartSequencePolicy, opts.From
		}
		for msg, err := range b.replay(ctx, from, opts.Past) {
			if err != nil {
				yield(nil, fmt.Errorf("follow events of job %s: %w", job, err))
				return
			}
			event := new(pb.Event)
			if err := FromJSON(msg.data, event); err != nil {
				// Anybody may publish on these subjects; a bad event must not end
				// the curve.
				b.log.Warn("skipped an event that cannot be read", "subject", msg.subject, "seq", msg.seq, "error", err)
				continue
			}
			event.Seq = msg.seq
			if !yield(event, nil) {
				return
			}
		}
	}
}

// LastEvent returns the newest event of a type of a job, or [ErrNotFound].
func (b *Bus) LastEvent(ctx context.Context, job, typ string) (*pb.Event, error) {
	for what, token := range map[string]string{"job id": job, "event type": typ} {
		if err := checkToken(what, token); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotFound, err)
		}
	}
	msg, err := b.jobs.GetLastMsgForSubject(ctx, eventSubject(job, typ))
	if err != nil {
		return nil, fmt.Errorf("last %s event of job %s: %w", typ, job, notFound(err))
	}
	event := new(pb.Event)
	if err := FromJSON(msg.Data, event); err != nil {
		return nil, fmt.Errorf("last %s event of job %s: %w", typ, job, err)
	}
	event.Seq = msg.Sequence
	return event, nil
}

// Renew replaces the step and the evaluation of a job's record, which are those of its last checkpoint, by the newest ones
// that were told. What cannot be read stays as the record has it.
func (b *Bus) Renew(ctx context.Context, job *pb.Job) {
	if job.GetStartedAt() == nil {
		return
	}
	// A job that was sent anew has events of its earlier run, too.
	fresh := func(typ string) *pb.Event {
		event, err := b.LastEvent(ctx, job.GetId(), typ)
		if err != nil || !event.GetTime().AsTime().After(job.GetStartedAt().AsTime()) {
			return nil
		}
		return event
	}
	if event := fresh(EventStep); event != nil {
		job.Progress = event.GetStep()
	}
	// The record of a job that has ended may name the evaluation of the best step, which is not the newest.
	if job.GetFinishedAt() != nil {
		return
	}
	if event := fresh(EventEval); event != nil {
		job.Evaluation = event.GetEvaluation()
	}
}

func eventMessage(job string, epoch uint64, event *pb.Event, now time.Time) (*nats.Msg, error) {
	if err := checkToken("job id", job); err != nil {
		return nil, err
	}
	if err := checkToken("event type", event.GetType()); err != nil {
		return nil, err
	}
	event = Clone(event)
	event.Job, event.Epoch, event.Seq = job, epoch, 0
	if event.Time == nil {
		event.Time = Timestamp(now)
	}
	data, err := ToJSON(event)
	if err != nil {
		return nil, err
	}
	return message(eventSubject(job, event.Type), data), nil
}
