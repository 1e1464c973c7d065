package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go/jetstream"
)

// Bucket is a set of small values under keys, each changed by compare-and-set.
type Bucket struct{ kv jetstream.KeyValue }

// Entry is a value of a bucket.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
	// Deleted marks, in a watch, that the key is gone.
	Deleted bool
	// Current marks, in a watch and without a key, that all that was there has
	// been told and changes follow.
	Current bool
}

// Registry is the bucket in which pkg/registry commits adapters.
func (b *Bus) Registry() *Bucket { return &Bucket{b.registry} }

// Get reads a key, or [ErrNotFound].
func (k *Bucket) Get(ctx context.Context, key string) (Entry, error) {
	got, err := k.kv.Get(ctx, key)
	if err != nil {
		return Entry{}, k.failed("read", key, notFound(err))
	}
	return Entry{Key: key, Value: got.Value(), Revision: got.Revision()}, nil
}

// Create writes a key that must not be there, or [ErrExists].
func (k *Bucket) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	rev, err := k.kv.Create(ctx, key, value)
	if errors.Is(err, jetstream.ErrKeyExists) {
		err = ErrExists
	}
	return rev, k.failed("create", key, err)
}

// Update writes a key that must still be at revision, or [ErrStale].
func (k *Bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	rev, err := k.kv.Update(ctx, key, value, revision)
	return rev, k.failed("update", key, stale(err))
}

// Put writes a key whatever is there.
func (k *Bucket) Put(ctx context.Context, key string, value []byte) (uint64, error) {
	rev, err := k.kv.Put(ctx, key, value)
	return rev, k.failed("write", key, err)
}

// Delete removes a key that must still be at revision, or [ErrStale]; revision
// 0 removes it in any case.
func (k *Bucket) Delete(ctx context.Context, key string, revision uint64) error {
	var opts []jetstream.KVDeleteOpt
	if revision > 0 {
		opts = append(opts, jetstream.LastRevision(revision))
	}
	return k.failed("delete", key, stale(k.kv.Delete(ctx, key, opts...)))
}

// List reads all keys that match a pattern ("*" one token, ">" any).
func (k *Bucket) List(ctx context.Context, pattern string) ([]Entry, error) {
	var all []Entry
	for entry, err := range k.Watch(ctx, pattern) {
		if err != nil {
			return nil, err
		}
		if entry.Current {
			return all, nil
		}
		if !entry.Deleted {
			all = append(all, entry)
		}
	}
	return nil, k.failed("list", pattern, ctx.Err())
}

// Watch yields what matches a pattern, then an entry with Current set, then
// every change until ctx ends. Values that expire are not told: list again from
// time to time.
func (k *Bucket) Watch(ctx context.Context, pattern string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		watcher, err := k.kv.Watch(ctx, pattern)
		if err != nil {
			yield(Entry{}, k.failed("watch", pattern, err))
			return
		}
		defer watcher.Stop() //nolint:errcheck // the server forgets the watch by itself
		for {
			select {
			case <-ctx.Done():
				return
			case got, open := <-watcher.Updates():
				if !open {
					if ctx.Err() == nil {
						yield(Entry{}, k.failed("watch", pattern, errors.New("the connection was closed")))
					}
					return
				}
				if !yield(entry(got), nil) {
					return
				}
			}
		}
	}
}

func entry(got jetstream.KeyValueEntry) Entry {
	if got == nil {
		return Entry{Current: true}
	}
	return Entry{
		Key: got.Key(), Value: got.Value(), Revision: got.Revision(),
		Deleted: got.Operation() != jetstream.KeyValuePut,
	}
}

func (k *Bucket) failed(op, key string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s key %q of bucket %s: %w", op, key, k.kv.Bucket(), err)
}

// notFound maps the ways in which the server says that nothing is there.
func notFound(err error) error {
	if errors.Is(err, jetstream.ErrKeyNotFound) || errors.Is(err, jetstream.ErrKeyDeleted) || errors.Is(err, jetstream.ErrMsgNotFound) {
		return ErrNotFound
	}
	return err
}
