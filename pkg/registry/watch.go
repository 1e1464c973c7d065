package registry

import (
	"context"
	"time"

	"descant/pkg/pb"
)

// Watch calls handle for every entry: at once with all there are, as they change, and with all of
// them again every so often, because a hint can get lost and the registry is the truth. handle sees
// the same entry many times and must not mind. Watch returns when ctx ends.
func (r *Registry) Watch(ctx context.Context, every time.Duration, handle func(*pb.AdapterEntry)) error {
	again := time.NewTicker(every)
	defer again.Stop()
	var hints <-chan *pb.AdapterEntry
	for {
		if hints == nil {
			// An error leaves the watch for the next round; the listing still works or fails by itself.
			hints, _ = r.entries.WatchAdapterEntries(ctx)
		}
		if all, err := r.List(ctx); err == nil {
			for _, entry := range all {
				handle(entry)
			}
		}
		if hints = follow(ctx, hints, again.C, handle); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// follow handles hints until it is time to list again; it returns nil instead of a broken channel.
func follow(ctx context.Context, hints <-chan *pb.AdapterEntry, again <-chan time.Time, handle func(*pb.AdapterEntry)) <-chan *pb.AdapterEntry {
	open := hints
	for {
		select {
		case <-ctx.Done():
			return hints
		case <-again:
			return hints
		case entry, ok := <-open:
			if !ok {
				open, hints = nil, nil
				continue
			}
			handle(entry)
		}
	}
}
