package inference

import (
	"container/list"
	"context"
	"sync"
)

// weights are an adapter in host memory.
type weights interface{ Bytes() int64 }

// host keeps adapters in this process's memory, from where they are back in a slot within
// milliseconds: the most recently used ones, up to a number of bytes, and pinned ones.
type host struct {
	most int64
	pins *pins

	mu      sync.Mutex
	order   *list.List // of *kept, the most recently used first
	byKey   map[string]*list.Element
	bytes   int64
	loading map[string]*loading
}

type kept struct {
	key string
	w   weights
}

// loading is a load that several may wait for.
type loading struct {
	done chan struct{} // closed when the rest is set
	w    weights
	err  error
}

func newHost(most int64, pins *pins) *host {
	return &host{most: most, pins: pins, order: list.New(), byKey: map[string]*list.Element{}, loading: map[string]*loading{}}
}

// get returns an adapter; what is not here is loaded, once for all who ask for it at the same time. A
// load goes on when those who wait for it have gone.
func (h *host) get(ctx context.Context, key string, load func(ctx context.Context) (weights, error)) (weights, error) {
	h.mu.Lock()
	if at := h.byKey[key]; at != nil {
		h.order.MoveToFront(at)
		one, _ := at.Value.(*kept)
		h.mu.Unlock()
		return one.w, nil
	}
	at := h.loading[key]
	if at == nil {
		at = &loading{done: make(chan struct{})}
		h.loading[key] = at
		go func() {
			w, err := guardedLoad(context.WithoutCancel(ctx), order{load: load})
			h.mu.Lock()
			delete(h.loading, key)
			if err == nil {
				h.keep(key, w)
			}
			h.mu.Unlock()
			at.w, at.err = w, err
			close(at.done)
		}()
	}
	h.mu.Unlock()
	select {
	case <-at.done:
		return at.w, at.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// has tells whether an adapter is kept.
func (h *host) has(key string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byKey[key] != nil
}

// keep adds an adapter and drops the least recently used ones that are too many. One that is larger than
// all the room is not kept: it is read again when needed. h.mu is held.
func (h *host) keep(key string, w weights) {
	if h.byKey[key] != nil || w.Bytes() > h.most {
		return
	}
	h.byKey[key] = h.order.PushFront(&kept{key, w})
	h.bytes += w.Bytes()
	for at := h.order.Back(); at != nil && h.bytes > h.most; {
		before := at.Prev()
		if one, _ := at.Value.(*kept); one.key != key && !h.pins.has(one.key) {
			h.remove(at)
		}
		at = before
	}
}

// remove lets an adapter go; h.mu is held.
func (h *host) remove(at *list.Element) {
	one, _ := h.order.Remove(at).(*kept)
	delete(h.byKey, one.key)
	h.bytes -= one.w.Bytes()
}

// held tells how many adapters are here, and their bytes.
func (h *host) held() (n int, bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.byKey), h.bytes
}
