package bus

import "sync"

// crew runs handlers and waits for them. A plain WaitGroup would not do: a
// message may still arrive while its subscription is being closed, and nothing
// may be added to a group that is being waited for.
type crew struct {
	mu     sync.Mutex
	wg     sync.WaitGroup
	closed bool
}

// run starts f, or does nothing after wait was called.
func (c *crew) run(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.wg.Go(f)
	}
}

// wait refuses new handlers and returns when the running ones have ended.
func (c *crew) wait() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.wg.Wait()
}
