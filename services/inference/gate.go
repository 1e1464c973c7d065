package inference

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"descant/pkg/job"
)

// gate lets requests into an engine: as many as it has rows, for as many adapters as it has slots, the adapters in turn.
// The engine's own queue knows rows only; here a request also waits for a slot while all adapters in the slots are in use.
//
//	enter ─► waiting ─► running ─► leave
//	   │        │ max_wait over: queue_timeout      turn: the adapter that was let in the longest ago goes first;
//	   │        │ requester gone                    it may be passed over for want of a slot, but only `rows` times:
//	   └► overloaded, if max_waiting wait           then nobody is let in before it
type gate struct {
	rows, slots int
	maxWaiting  int
	maxWait     time.Duration

	mu      sync.Mutex
	running int            // rows that were given away
	users   map[string]int // requests that run with an adapter
	turns   map[string]int // when each adapter was last let in
	turn    int
	// idled counts how often an adapter in a slot came to be unused.
	idled   int
	waiting []*ticket
}

// ticket is one request at the gate.
type ticket struct {
	key  string // of the adapter, "" for the base
	rows int
	in   chan struct{} // closed when it may go in
	// blocked is the value of idled at which the engine had no slot for the adapter.
	blocked int
	// passed counts the requests that were let in before it though it was its turn.
	passed int
	late   time.Time // when it is refused
}

func newGate(cfg Config) *gate {
	return &gate{rows: cfg.MaxRows, slots: cfg.Slots, maxWaiting: cfg.MaxWaiting, maxWait: cfg.MaxWait,
		users: map[string]int{}, turns: map[string]int{}}
}

// enter waits until a request may run; n is how many answers it wants at once.
func (g *gate) enter(ctx context.Context, key string, n int) (*ticket, error) {
	t := &ticket{key: key, rows: min(max(n, 1), g.rows), blocked: -1, late: time.Now().Add(g.maxWait)}
	g.mu.Lock()
	if len(g.waiting) >= g.maxWaiting {
		g.mu.Unlock()
		return nil, job.RefusedError(job.CodeOverloaded, fmt.Sprintf("this worker is busy, and %d requests wait already", g.maxWaiting),
			"try again later, or start another inference worker", busyRetry)
	}
	g.line(t)
	g.mu.Unlock()
	return t, g.wait(ctx, t)
}

// line puts a ticket at the end of the queue and lets in whom it can; g.mu is held.
func (g *gate) line(t *ticket) {
	t.in = make(chan struct{})
	g.waiting = append(g.waiting, t)
	g.admit()
}

// busyRetry is when to come back to a worker whose queue is full.
const busyRetry = 2 * time.Second

// again waits once more, for a slot: the engine had none for the ticket's adapter. It tells whether that can help.
func (g *gate) again(ctx context.Context, t *ticket) (bool, error) {
	g.mu.Lock()
	others := len(g.users)
	if g.users[t.key] == 1 {
		others--
	}
	if others == 0 {
		g.mu.Unlock()
		return false, nil
	}
	g.release(t)
	t.blocked = g.idled
	g.line(t)
	g.mu.Unlock()
	return true, g.wait(ctx, t)
}

// wait returns when a ticket in the queue is let in, or leaves it.
func (g *gate) wait(ctx context.Context, t *ticket) error {
	timer := time.NewTimer(time.Until(t.late))
	defer timer.Stop()
	var err error
	select {
	case <-t.in:
		return nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-timer.C:
		err = job.RefusedError(job.CodeQueueTimeout, fmt.Sprintf("the request waited %s for its turn", g.maxWait),
			"try again later, or start another inference worker", busyRetry)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.waiting, t); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
		g.admit() // it may have held up others
		return err
	}
	return nil // it was let in just now
}

// leave gives the row back.
func (g *gate) leave(t *ticket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.release(t)
	g.admit()
}

// release takes a running ticket's row and use away; g.mu is held.
func (g *gate) release(t *ticket) {
	g.running -= t.rows
	if t.key == "" {
		return
	}
	if g.users[t.key]--; g.users[t.key] == 0 {
		delete(g.users, t.key)
		g.idled++
	}
}

// admit lets in whom it can; g.mu is held.
func (g *gate) admit() {
	for {
		i := g.next()
		if i < 0 {
			break
		}
		t := g.waiting[i]
		g.waiting = slices.Delete(g.waiting, i, i+1)
		g.running += t.rows
		if t.key != "" {
			g.users[t.key]++
		}
		g.turn++
		g.turns[t.key] = g.turn
		close(t.in)
	}
	switch {
	case len(g.waiting) == 0 && g.running == 0:
		clear(g.turns) // nobody is owed a turn; adapters come and go
		g.turn = 0
	case len(g.turns) > 2*maxTurns: // so they do while somebody always runs
		maps.DeleteFunc(g.turns, func(_ string, at int) bool { return at <= g.turn-maxTurns })
	}
}

// maxTurns is after how many admissions the turn of an adapter may be forgotten; without one it is before all others,
// as it was.
const maxTurns = 4096

// next is the index of the ticket to let in now, -1 for none; g.mu is held.
func (g *gate) next() int {
	if len(g.waiting) == 0 {
		return -1
	}
	order := make([]int, len(g.waiting))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return g.turns[g.waiting[a].key] - g.turns[g.waiting[b].key] })
	first := g.waiting[order[0]]
	for _, i := range order {
		t := g.waiting[i]
		if g.running+t.rows > g.rows || !g.hasSlot(t) {
			if t == first && first.passed >= g.rows {
				return -1
			}
			continue
		}
		if t != first {
			first.passed++
		}
		return i
	}
	return -1
}

// hasSlot tells whether a slot can be had for a ticket's adapter; g.mu is held.
func (g *gate) hasSlot(t *ticket) bool {
	if t.key == "" || g.users[t.key] > 0 {
		return true
	}
	return len(g.users) < g.slots && g.idled > t.blocked
}

// queue returns how many requests wait, and their adapters.
func (g *gate) queue() (n int, keys []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.waiting {
		if t.key != "" && !slices.Contains(keys, t.key) {
			keys = append(keys, t.key)
		}
	}
	return len(g.waiting), keys
}
