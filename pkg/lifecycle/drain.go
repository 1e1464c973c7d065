package lifecycle

import (
	"context"
	"net/http"
	"sync"
)

// Drain counts work that runs, so that a stop can wait for it. The zero value is ready.
type Drain struct {
	mu      sync.Mutex
	running int
	empty   chan struct{} // set when the stop has begun, closed when nothing runs any more
}

// Enter counts one more, or tells that the stop has begun and nothing new is taken.
func (d *Drain) Enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.empty != nil {
		return false
	}
	d.running++
	return true
}

// Leave counts one less.
func (d *Drain) Leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.running--
	if d.running == 0 && d.empty != nil {
		close(d.empty)
	}
}

// Stop takes nothing new and waits until what runs has ended, or ctx has. It is called once.
func (d *Drain) Stop(ctx context.Context) {
	d.mu.Lock()
	d.empty = make(chan struct{})
	if d.running == 0 {
		close(d.empty)
	}
	d.mu.Unlock()
	select {
	case <-d.empty:
	case <-ctx.Done():
	}
}

// ServeDraining is ServeHTTP that goes on after the end of ctx until what running counts has ended, or the grace has.
func ServeDraining(ctx context.Context, address string, handler http.Handler, running *Drain, listening func(address string)) error {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go func() {
		select {
		case <-ctx.Done():
			running.Stop(Working(ctx))
			stop()
		case <-serving.Done():
		}
	}()
	return ServeHTTP(serving, address, handler, listening)
}
