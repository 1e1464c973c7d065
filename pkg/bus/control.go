package bus

import (
	"context"
	"fmt"
	"iter"

	"descant/pkg/pb"

	"github.com/nats-io/nats.go"
)

// Control is a person's wish for a job.
type Control struct {
	Job    string
	Action string // cancel, pause, resume or checkpoint
	Reason string
}

// SendControl tells whoever works at a job what a person wishes. It is a hint:
// what must not be lost goes into the job's record.
func (b *Bus) SendControl(_ context.Context, c Control) error {
	if err := checkToken("job id", c.Job); err != nil {
		return err
	}
	data, err := ToJSON(&pb.Control{Action: c.Action, Reason: c.Reason})
	if err != nil {
		return err
	}
	if err := b.conn.Publish(controlSubject(c.Job), data); err != nil {
		return fmt.Errorf("send %s to job %s: %w", c.Action, c.Job, err)
	}
	return nil
}

// Controls subscribes to the wishes for a job, or for all jobs for "*", and
// yields them until ctx ends. The subscription stands when Controls returns.
// With a queue each wish goes to one of its members, without to everybody.
func (b *Bus) Controls(ctx context.Context, job, queue string) (iter.Seq[Control], error) {
	if job != "*" {
		if err := checkToken("job id", job); err != nil {
			return nil, err
		}
	}
	sub, err := b.conn.QueueSubscribeSync(controlSubject(job), queue)
	if err != nil {
		return nil, fmt.Errorf("listen to the control of job %s: %w", job, err)
	}
	// The server must know the subscription before somebody counts on it.
	if err := b.flush(ctx); err != nil {
		_ = sub.Unsubscribe() // the first error is the one to tell
		return nil, fmt.Errorf("listen to the control of job %s: %w", job, err)
	}
	return func(yield func(Control) bool) {
		defer sub.Unsubscribe() //nolint:errcheck // a closed connection has no subscriptions
		for {
			msg, err := sub.NextMsgWithContext(ctx)
			if err != nil {
				return
			}
			c, err := control(msg)
			if err != nil {
				b.log.Warn("control message refused", "subject", msg.Subject, "error", err)
				continue
			}
			if !yield(c) {
				return
			}
		}
	}, nil
}

func control(msg *nats.Msg) (Control, error) {
	wish := new(pb.Control)
	if err := FromJSON(msg.Data, wish); err != nil {
		return Control{}, fmt.Errorf(`%w; send for example {"action":"cancel"}`, err)
	}
	job := msg.Subject[len(controlSubject("")):]
	return Control{Job: job, Action: wish.Action, Reason: wish.Reason}, nil
}
