package stage

import (
	"context"
	"errors"
	"sync"
	"time"

	"descant/pkg/bus"
)

// pulse passes the signs of life of a loop on to the server. A single step of a big model may take
// longer than the server waits for an acknowledgement, so the pulse bridges the time between two
// signs, but only for as long as the loop's own pace allows: a loop that hangs goes silent, and the
// job goes to another worker.
type pulse struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration // between two signs
	signed  bool
	first   time.Duration // patience before the first sign: downloads, compilation
}

// Bounds of the patience after the first sign.
const (
	leastPatience = 2 * time.Minute
	paceFactor    = 20
)

func newPulse(first time.Duration) *pulse {
	return &pulse{last: time.Now(), first: first}
}

func (p *pulse) sign() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.signed {
		p.longest = max(p.longest, now.Sub(p.last))
	}
	p.last, p.signed = now, true
}

// silent tells whether the last sign is too long ago.
func (p *pulse) silent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	patience := p.first
	if p.signed {
		patience = max(leastPatience, paceFactor*p.longest)
	}
	return time.Since(p.last) > patience
}

// run sends heartbeats until ctx ends or the loop goes silent. It cancels the attempt when another
// worker holds the lease.
func (p *pulse) run(ctx context.Context, cancel context.CancelCauseFunc, task *bus.Task) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if p.silent() {
			return
		}
		if err := task.Heartbeat(ctx); errors.Is(err, bus.ErrStale) {
			cancel(ErrLost)
			return
		}
	}
}
