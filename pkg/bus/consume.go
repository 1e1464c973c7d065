package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"descant/pkg/lifecycle"
	"descant/pkg/pb"
)

// Options of a consumer of work or requests.
type Options struct {
	// Concurrency is how many messages are handled at once. Defaults to 1.
	Concurrency int
	// Attempts is how often a plain error is retried before the message becomes
	// a dead letter. Defaults to 3.
	Attempts int
	// Worker names who handles, for leases and dead letters; no two processes
	// may share a name. Defaults to one made up at Connect.
	Worker string
	// GaveUp is told before a message becomes a dead letter; an error defers
	// that to a further attempt. Defaults to nothing.
	GaveUp func(ctx context.Context, job string, err error) error
}

func (o Options) withDefaults(b *Bus) Options {
	if o.Concurrency < 1 {
		o.Concurrency = 1
	}
	if o.Attempts < 1 {
		o.Attempts = 3
	}
	if o.Worker == "" {
		o.Worker = b.id
	}
	return o
}

// delivery is one message in the hands of a handler.
type delivery struct {
	msg       jetstream.Msg
	stage     string
	job       string
	delivered uint64 // times, this one included
	attempt   int    // that counts for Options.Attempts
}

// consumer runs handle for the messages of a durable consumer.
type consumer struct {
	bus    *Bus
	opts   Options
	from   jetstream.Consumer
	stage  string
	handle func(ctx context.Context, d *delivery) error
}

func (b *Bus) durable(ctx context.Context, stream, name, filter string) (jetstream.Consumer, error) {
	// No BackOff: it would replace AckWait. No MaxDeliver: attempts are counted
	// here, so that infrastructure errors cost none.
	consumer, err := b.js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable:       name,
		FilterSubject: filter,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       b.cfg.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: 1000,
	})
	if err != nil {
		return nil, fmt.Errorf("consumer %s of stream %s: %w; compare with `nats consumer info %s %s`", name, stream, err, stream, name)
	}
	return consumer, nil
}

// run takes messages until ctx ends, then waits for the handlers, which run
// under lifecycle.Working(ctx).
func (c *consumer) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, c.opts.Concurrency)
	for {
		// A slot comes before the message: a message that waits here for a slot
		// would run out of its AckWait.
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		msg, err := c.next(ctx)
		if msg == nil {
			<-slots
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				c.bus.log.Warn("cannot take work, trying again", "stage", c.stage, "error", err)
				if !pause(ctx, time.Second) {
					return nil
				}
			}
			continue
		}
		wg.Go(func() {
			defer func() { <-slots }()
			c.deliver(ctx, msg)
		})
	}
}

// next waits for one message; nil without an error means that none came.
func (c *consumer) next(ctx context.Context) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	msg, err := c.from.Next(jetstream.FetchContext(ctx))
	switch {
	case err == nil:
		return msg, nil
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, jetstream.ErrNoMessages), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil, nil
	}
	return nil, err
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// deliver handles one message and settles it by the outcome.
func (c *consumer) deliver(ctx context.Context, msg jetstream.Msg) {
	meta, err := msg.Metadata()
	if err != nil { // not a JetStream message: cannot come from a consumer
		c.bus.log.Error("message without metadata", "subject", msg.Subject(), "error", err)
		return
	}
	d := &delivery{msg: msg, stage: c.stage, delivered: meta.NumDelivered, attempt: int(meta.NumDelivered)}
	work := lifecycle.Working(ctx)
	err = c.guarded(ctx, d)
	// The message is settled even if the grace is over: it is one packet.
	settle, cancel := context.WithTimeout(context.WithoutCancel(work), c.bus.cfg.Timeout)
	defer cancel()
	if err := c.settle(settle, work, d, err); err != nil {
		c.bus.log.Error("cannot settle a message; it will come again", "stage", c.stage, "job", d.job, "error", err)
	}
}

// panicked is the error of a handler that panicked.
type panicked struct {
	value any
	trace string
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

func (c *consumer) guarded(ctx context.Context, d *delivery) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicked{v, string(debug.Stack())}
		}
	}()
	return c.handle(ctx, d)
}

func (c *consumer) settle(ctx, work context.Context, d *delivery, err error) error {
	log := c.bus.log.With("stage", c.stage, "job", d.job, "delivered", d.delivered)
	var (
		again *retry
		free  *release
		never *discard
	)
	switch {
	case err == nil:
		return d.msg.DoubleAck(ctx)
	case errors.As(err, &never):
		return c.bury(ctx, d, err)
	case errors.As(err, &again) && errors.Is(err, errHeld):
		log.Debug("work waits", "reason", err, "after", again.after)
		return d.msg.NakWithDelay(again.after)
	case errors.As(err, &again):
		log.Warn("work failed, will run again", "error", err, "after", again.after)
		return d.msg.NakWithDelay(again.after)
	case errors.As(err, &free), work.Err() != nil && errors.Is(err, context.Canceled):
		log.Info("work handed back")
		return d.msg.Nak()
	case errors.Is(err, ErrStale):
		// Another worker has it, or a person has changed it: whoever did that
		// has published what comes next.
		log.Info("work dropped, the job was changed by somebody else")
		return d.msg.DoubleAck(ctx)
	case d.attempt >= c.opts.Attempts:
		return c.bury(ctx, d, err)
	}
	log.Warn("work failed, will run again", "error", err, "attempt", d.attempt)
	return d.msg.NakWithDelay(backoff(d.attempt))
}

// backoff is 1 s, 2 s, 4 s … up to a minute.
func backoff(attempt int) time.Duration {
	return min(time.Second<<min(max(attempt-1, 0), 6), time.Minute)
}

// bury makes a dead letter of the message and ends it.
func (c *consumer) bury(ctx context.Context, d *delivery, err error) error {
	if c.opts.GaveUp != nil {
		if gaveUp := c.opts.GaveUp(ctx, d.job, err); gaveUp != nil && !errors.Is(gaveUp, ErrStale) {
			c.bus.log.Error("cannot record a failure, will try again", "job", d.job, "error", gaveUp)
			return d.msg.NakWithDelay(backoff(d.attempt))
		}
	}
	letter := &pb.DeadLetter{
		Stage: c.stage, Job: d.job, Subject: d.msg.Subject(), Payload: d.msg.Data(),
		Deliveries: d.delivered, Reason: err.Error(), Time: Timestamp(time.Now()), Worker: c.opts.Worker,
	}
	var crash *panicked
	if errors.As(err, &crash) {
		letter.Trace = crash.trace
	}
	if err := c.bus.publishDead(ctx, letter); err != nil {
		return errors.Join(err, d.msg.NakWithDelay(backoff(d.attempt)))
	}
	c.bus.log.Error("work given up, kept as a dead letter", "stage", c.stage, "job", d.job, "error", err)
	return d.msg.TermWithReason(reason(err))
}

// reason fits an error into the one line of a TERM acknowledgement.
func reason(err error) string {
	line := []rune(err.Error())
	for i, r := range line {
		if r < ' ' {
			line[i] = ' '
		}
	}
	if len(line) > 200 {
		line = line[:200]
	}
	return string(line)
}
