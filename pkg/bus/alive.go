package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// aliveEvery is how often a worker whose answer is awaited is asked whether
	// it lives.
	aliveEvery = 500 * time.Millisecond
	// alivePatience is how long the reply may take: long enough for a machine
	// that is busy with other things.
	alivePatience = 10 * time.Second
)

// ErrLost says that a worker is gone.
var ErrLost = errors.New("the worker is gone")

// ServeWorker is ServeChat on the subject of one worker, which also tells that
// it lives until the last request is finished.
func (b *Bus) ServeWorker(ctx context.Context, worker string, handle ChatHandler, ready func()) error {
	if err := checkToken("worker id", worker); err != nil {
		return err
	}
	sub, err := b.conn.Subscribe(aliveSubject(worker), func(msg *nats.Msg) {
		if err := msg.Respond(nil); err != nil {
			b.log.Debug("cannot tell that this worker lives", "error", err)
		}
	})
	if err != nil {
		return fmt.Errorf("listen on %s: %w", aliveSubject(worker), err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // a closed connection has no subscriptions
	return b.ServeChat(ctx, WorkerSubject(worker), "", handle, ready)
}

// WatchWorker returns [ErrLost] when a worker has died, or nil when ctx ends.
// The server knows of a crash at once, since the connection breaks; of a
// machine that was cut off only after a time without a reply.
func (b *Bus) WatchWorker(ctx context.Context, worker string) error {
	ticker := time.NewTicker(aliveEvery)
	defer ticker.Stop()
	missed := 0 // a connection that is just being opened anew misses once
	for missed < 2 {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		asking, cancel := context.WithTimeout(ctx, alivePatience)
		_, err := b.conn.RequestWithContext(asking, aliveSubject(worker), nil)
		cancel()
		switch {
		case err == nil:
			missed = 0
		case b.conn.IsConnected():
			missed++
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("worker %s: %w", worker, ErrLost)
}
