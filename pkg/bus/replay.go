package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go/jetstream"
)

// stored is a message of the jobs stream.
type stored struct {
	data    []byte
	subject string
	seq     uint64
}

// replay yields messages of the jobs stream in order, from where the
// configuration says: up to the newest if finite, else until ctx ends.
func (b *Bus) replay(ctx context.Context, from jetstream.OrderedConsumerConfig, finite bool) iter.Seq2[stored, error] {
	return func(yield func(stored, error) bool) {
		consumer, err := b.js.OrderedConsumer(ctx, streamJobs, from)
		if err != nil {
			yield(stored{}, fmt.Errorf("read stream %s: %w", streamJobs, err))
			return
		}
		if finite && consumer.CachedInfo().NumPending == 0 {
			return
		}
		messages, err := consumer.Messages()
		if err != nil {
			yield(stored{}, fmt.Errorf("read stream %s: %w", streamJobs, err))
			return
		}
		defer messages.Stop()
		for {
			msg, err := messages.Next(jetstream.NextContext(ctx))
			if ctx.Err() != nil {
				if finite {
					yield(stored{}, ctx.Err())
				}
				return
			}
			if err != nil {
				if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
					err = fmt.Errorf("read stream %s: connection closed: %w", streamJobs, err)
				}
				yield(stored{}, err)
				return
			}
			meta, err := msg.Metadata()
			if err != nil {
				yield(stored{}, fmt.Errorf("read stream %s: %w", streamJobs, err))
				return
			}
			if !yield(stored{msg.Data(), msg.Subject(), meta.Sequence.Stream}, nil) {
				return
			}
			if finite && meta.NumPending == 0 {
				return
			}
		}
	}
}
