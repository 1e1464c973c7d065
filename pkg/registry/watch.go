package registry

import (
	"context"
	"sync"
	"time"

	"descant/pkg/pb"
)

// Watch calls handle for every entry: at once with all there are, as they change, and with all of
// them again every so often, because a hint can get lost and the registry is the truth. handle sees
// the same entry many times and must not mind; it is called by one goroutine at a time. listed, if
// not nil, is called after the first complete listing. Watch returns when ctx ends.
func (r *Registry) Watch(ctx context.Context, every time.Duration, handle func(*pb.AdapterEntry), listed func()) {
	var one sync.Mutex
	locked := func(entry *pb.AdapterEntry) {
		one.Lock()
		defer one.Unlock()
		handle(entry)
	}
	var hints sync.WaitGroup
	defer hints.Wait()
	hints.Go(func() { r.follow(ctx, every, locked) })
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		if all, err := r.List(ctx); err == nil {
			for _, entry := range all {
				locked(entry)
			}
			if listed != nil {
				listed()
				listed = nil
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// follow handles changes as they come and opens the watch again when it breaks; what it misses in
// between, the next listing has.
func (r *Registry) follow(ctx context.Context, pause time.Duration, handle func(*pb.AdapterEntry)) {
	for ctx.Err() == nil {
		for stored, err := range r.entries.Watch(ctx, ">") {
			if err != nil {
				break
			}
			if stored.Current || stored.Deleted {
				continue
			}
			if entry, err := decode(stored); err == nil {
				handle(entry)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(pause, time.Second)):
		}
	}
}
