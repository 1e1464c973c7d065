package inference

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"descant/pkg/generate"
	"descant/pkg/job"
)

// slots are the places for adapters in the memory of a base's device. Loading goes on beside the
// requests, and a request waits for its own adapter only.
//
//	acquire ─► load (host memory, else disk, else object store) ─► a free slot, else that of the adapter
//	that nobody has used for the longest time ─► prove ─► in its slot until release
type slots struct {
	engine engine
	pins   *pins
	// left hears of an adapter that has lost its slot.
	left func(key string)
	// placing is held by the load that writes into the device's memory.
	placing sync.Mutex

	mu     sync.Mutex
	byKey  map[string]*slot
	clock  int
	closed bool
}

// slot is an adapter that has a place, or is on its way to one.
type slot struct {
	key   string
	ready chan struct{} // closed when err is set
	err   error
	// users are the requests that use it or wait for it.
	users  int
	used   int // value of the clock at the last use
	placed bool
	// evict: somebody who waits for it may have an idle adapter's slot.
	evict bool
	// parts are the digests of a sum. gone says that it leaves its slot with its last user.
	parts []string
	gone  bool
}

// order says how an adapter comes to its slot.
type order struct {
	key string
	// parts are the digests of a sum; nil for a single adapter.
	parts []string
	// load brings the weights into host memory, prove tries them in their slot.
	load  func(ctx context.Context) (weights, error)
	prove func(ctx context.Context, w weights) error
	// done hears how it has ended.
	done func(err error)
	// evict takes the slot of an idle adapter where none is free. If there is none either, and always without
	// evict, a full device is generate.ErrSlotsFull.
	evict bool
}

func newSlots(e engine, pins *pins, left func(string)) *slots {
	return &slots{engine: e, pins: pins, left: left, byKey: map[string]*slot{}}
}

// acquire brings an adapter into a slot, where it stays until release is called.
func (s *slots) acquire(ctx context.Context, o order) (release func(), err error) {
	at, err := s.join(ctx, o)
	if err != nil {
		return nil, err
	}
	release = sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		at.users--
		s.leaveGone(at)
	})
	select {
	case <-at.ready:
		err = at.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// join makes the caller a user of an adapter's slot.
func (s *slots) join(ctx context.Context, o order) (*slot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, generate.ErrClosed
	}
	at := s.byKey[o.key]
	if at == nil {
		at = &slot{key: o.key, parts: o.parts, ready: make(chan struct{})}
		s.byKey[o.key] = at
		// The load is not the request's: others may join it, and it goes on when its first requester has gone.
		go s.fill(context.WithoutCancel(ctx), at, o)
	}
	at.evict = at.evict || o.evict
	s.clock++
	at.users, at.used = at.users+1, s.clock
	return at, nil
}

// fill brings an adapter to its slot and wakes those who wait for it.
func (s *slots) fill(ctx context.Context, at *slot, o order) {
	w, err := guardedLoad(ctx, o)
	for evict := false; ; {
		if err == nil {
			err = s.place(ctx, at, o, w, evict)
		}
		s.mu.Lock()
		if errors.Is(err, generate.ErrSlotsFull) && at.evict && !evict {
			s.mu.Unlock()
			evict, err = true, nil
			continue
		}
		break
	}
	at.err = err
	if err == nil {
		at.placed = true
	} else {
		delete(s.byKey, at.key)
	}
	s.mu.Unlock()
	o.done(err)
	s.mu.Lock()
	s.leaveGone(at) // those who wanted it may have left meanwhile
	s.mu.Unlock()
	close(at.ready)
}

// guardedLoad keeps whatever is wrong with one adapter from ending the answers of the others.
func guardedLoad(ctx context.Context, o order) (w weights, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = job.BugError("load adapter", fmt.Errorf("panic: %v", v))
		}
	}()
	return o.load(ctx)
}

// place writes the weights into the device's memory and proves them there.
func (s *slots) place(ctx context.Context, at *slot, o order, w weights, evict bool) error {
	s.placing.Lock()
	err := s.engine.Load(ctx, at.key, w)
	for errors.Is(err, generate.ErrSlotsFull) && evict && s.evictIdle() {
		err = s.engine.Load(ctx, at.key, w)
	}
	s.placing.Unlock()
	if err != nil {
		return err
	}
	if err := o.prove(ctx, w); err != nil {
		s.engine.UnloadAdapter(at.key)
		return err
	}
	return nil
}

// evictIdle takes the adapter that nobody has used for the longest time out of its slot, one that the registry pins only
// where all others are in use or pinned, and tells whether there was one.
func (s *slots) evictIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var idle *slot
	for _, at := range s.byKey {
		if !at.placed || at.users > 0 || s.pins.firm(at.key) {
			continue
		}
		if pinned := s.pins.has(at.key); idle == nil || pinned == s.pins.has(idle.key) && at.used < idle.used || !pinned && s.pins.has(idle.key) {
			idle = at
		}
	}
	if idle == nil {
		return false
	}
	s.unload(idle)
	return true
}

// unload takes an adapter out of its slot; s.mu is held.
func (s *slots) unload(at *slot) {
	delete(s.byKey, at.key)
	s.engine.UnloadAdapter(at.key)
	s.left(at.key)
}

// has tells whether an adapter answers at once.
func (s *slots) has(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.byKey[key]
	return at != nil && at.placed
}

// keys lists the adapters that answer at once.
func (s *slots) keys() (keys []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, at := range s.byKey {
		if at.placed {
			keys = append(keys, key)
		}
	}
	return keys
}

// close refuses new requests and forgets all adapters.
func (s *slots) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for key, at := range s.byKey {
		if at.placed {
			delete(s.byKey, key)
			s.left(key)
		}
	}
}
