package inference

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"descant/pkg/job"
)

func testGate(rows, slots int) *gate {
	return newGate(Config{MaxRows: rows, Slots: slots, MaxWaiting: 1000, MaxWait: time.Hour})
}

// put has a request wait without a goroutine of its own.
func (g *gate) put(key string, rows int) *ticket {
	t := &ticket{key: key, rows: rows, blocked: -1, late: time.Now().Add(g.maxWait)}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.line(t)
	return t
}

func (t *ticket) isIn() bool {
	select {
	case <-t.in:
		return true
	default:
		return false
	}
}

// TestGateForgets: a worker that is never idle sees more and more adapters come and go.
func TestGateForgets(t *testing.T) {
	t.Parallel()
	g := testGate(2, 4)
	stays := g.put("stays", 1)
	for i := range 5 * maxTurns {
		g.leave(g.put(fmt.Sprintf("adapter-%d", i), 1))
		if len(g.turns) > 2*maxTurns {
			t.Fatalf("%d turns are remembered", len(g.turns))
		}
	}
	g.put("old", 1)
	again, fresh := g.put(fmt.Sprintf("adapter-%d", 5*maxTurns-1), 1), g.put("adapter-0", 1)
	g.leave(stays)
	if again.isIn() || !fresh.isIn() {
		t.Error("an adapter whose turn was forgotten is not before one that had its turn a moment ago")
	}
}

func TestGateOrder(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		rows, slots int
		keys        string // in the order of arrival; - is the base, a number asks for as many answers at once
		want        string // in the order of admission, each ending before the next one is let in
	}{
		"in order":                         {1, 4, "a b c", "a b c"},
		"adapters take turns":              {1, 4, "a a a a b a b -", "a b - a b a a a"},
		"the base has its turn, too":       {1, 4, "- - - a", "- a - -"},
		"many answers wait for rows":       {2, 4, "a 2 b c d", "a b c 2 d"},
		"more answers than there are rows": {2, 4, "9 b", "9 b"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := testGate(tt.rows, tt.slots)
			var all []*ticket
			names := map[*ticket]string{}
			for _, name := range strings.Fields(tt.keys) {
				key, rows := name, 1
				if name == "-" {
					key = ""
				}
				if n := name[0] - '0'; n <= 9 {
					rows = min(int(n), tt.rows)
				}
				one := g.put(key, rows)
				all, names[one] = append(all, one), name
			}
			var got []string
			for len(all) > 0 {
				i := slices.IndexFunc(all, (*ticket).isIn)
				if i < 0 {
					t.Fatalf("nobody is let in after %v", got)
				}
				got = append(got, names[all[i]])
				g.leave(all[i])
				all = slices.Delete(all, i, i+1)
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("order %v, want %s", got, tt.want)
			}
		})
	}
}

// TestGatePassesOverOnlySoOften: while all slots are in use, an adapter without a slot is passed over as often as there are
// rows, and then the next place is its own.
func TestGatePassesOverOnlySoOften(t *testing.T) {
	t.Parallel()
	g := testGate(3, 1)
	running := []*ticket{g.put("a", 1), g.put("a", 1)}
	b := g.put("b", 1)
	for i := range 3 {
		more := g.put("a", 1)
		if !more.isIn() {
			t.Fatalf("a request for the adapter in the slot waits after %d others", i)
		}
		g.leave(running[0])
		running = append(running[1:], more)
	}
	last := g.put("a", 1)
	if last.isIn() || b.isIn() {
		t.Fatal("b is passed over more often than there are rows, or has a slot that is in use")
	}
	for _, one := range running {
		if b.isIn() {
			t.Fatal("b is let in while its slot is in use")
		}
		g.leave(one)
	}
	if !b.isIn() || last.isIn() {
		t.Error("the slot is free, and b is not let in")
	}
	g.leave(b)
	if !last.isIn() {
		t.Error("nobody follows b")
	}
}

// TestGateAgain: the engine had no room for an adapter, as ranks differ. It waits until another adapter is out of use.
func TestGateAgain(t *testing.T) {
	t.Parallel()
	g := testGate(3, 3)
	a := g.put("a", 1)
	big := g.put("big", 1)
	done := make(chan error, 1)
	go func() {
		helps, err := g.again(t.Context(), big)
		if !helps {
			err = errors.New("told that waiting does not help")
		}
		done <- err
	}()
	for n, _ := g.queue(); n == 0; n, _ = g.queue() {
		runtime.Gosched()
	}
	c := g.put("c", 1) // needs no room of a's
	if !c.isIn() {
		t.Error("another adapter is held up")
	}
	if n, keys := g.queue(); n != 1 || keys[0] != "big" {
		t.Errorf("%d wait, for %v", n, keys)
	}
	g.leave(a)
	if err := <-done; err != nil {
		t.Error(err)
	}
	g.leave(c)
	if helps, err := g.again(t.Context(), big); helps || err != nil {
		t.Errorf("nobody else is there, and waiting shall help: %v", err)
	}
	g.leave(big)
	if g.running != 0 || len(g.users) != 0 {
		t.Errorf("%d rows are in use by %v at the end", g.running, g.users)
	}
}

func TestGateRefuses(t *testing.T) {
	t.Parallel()
	g := newGate(Config{MaxRows: 1, Slots: 1, MaxWaiting: 1, MaxWait: time.Millisecond})
	inside, err := g.enter(t.Context(), "a", 1)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(err error, code job.Code) {
		t.Helper()
		if e := job.AsError("", err); e == nil || e.Code != code || e.Class != job.Infrastructure || e.RetryAfter <= 0 || e.Next == "" {
			t.Errorf("error %v, want %s with the time to try again", err, code)
		}
	}
	_, err = g.enter(t.Context(), "a", 1)
	refused(err, job.CodeQueueTimeout)
	g.maxWait = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	waiting := make(chan error, 1)
	go func() {
		_, err := g.enter(ctx, "a", 1)
		waiting <- err
	}()
	for n, _ := g.queue(); n == 0; n, _ = g.queue() {
		runtime.Gosched()
	}
	_, err = g.enter(t.Context(), "a", 1)
	refused(err, job.CodeOverloaded)
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("a requester that has gone gets %v", err)
	}
	g.leave(inside)
	if n, _ := g.queue(); n != 0 || g.running != 0 {
		t.Errorf("%d wait and %d run at the end", n, g.running)
	}
}

// TestGateBoundsItsQueue: of many that come at once no more than max_waiting wait.
func TestGateBoundsItsQueue(t *testing.T) {
	t.Parallel()
	g := testGate(1, 1)
	g.maxWaiting = 2
	inside := g.put("a", 1)
	ctx, cancel := context.WithCancel(t.Context())
	refused := make(chan error, 64)
	var all sync.WaitGroup
	for range cap(refused) {
		all.Go(func() {
			if _, err := g.enter(ctx, "a", 1); !errors.Is(err, context.Canceled) {
				refused <- err
			}
		})
	}
	for range cap(refused) - g.maxWaiting {
		if err := <-refused; job.AsError("", err).Code != job.CodeOverloaded {
			t.Errorf("refused with %v", err)
		}
	}
	if n, _ := g.queue(); n != g.maxWaiting {
		t.Errorf("%d wait, want %d", n, g.maxWaiting)
	}
	cancel()
	all.Wait()
	g.leave(inside)
}

// TestGateSharesSlots: 64 adapters over 8 slots and 8 rows. One adapter sends as much as all others together, and still
// each of the others is served in a bounded number of rounds. A round is one answer's time.
func TestGateSharesSlots(t *testing.T) {
	t.Parallel()
	const adapters, places, each = 64, 8, 4
	g := testGate(places, places)
	var all []*ticket
	for range each * (adapters - 1) {
		all = append(all, g.put("flood", 1))
	}
	for i := range each * (adapters - 1) {
		all = append(all, g.put(fmt.Sprint("adapter-", i%(adapters-1)), 1))
	}
	served, first, last, swaps := map[string]int{}, map[string]int{}, map[string]int{}, 0
	slots := map[string]int{} // adapters in slots, with the round of their last use
	rounds := 0
	for ; len(all) > 0; rounds++ {
		var running []*ticket
		for _, one := range all {
			if one.isIn() {
				running = append(running, one)
			}
		}
		if len(running) != min(places, len(all)) {
			t.Fatalf("round %d has %d requests of %d, though %d wait", rounds, len(running), places, len(all))
		}
		now := map[string]bool{}
		for _, one := range running {
			now[one.key] = true
		}
		for key := range now {
			if _, there := slots[key]; !there {
				swaps++
				if len(slots) == places {
					delete(slots, oldest(slots, now))
				}
			}
			slots[key] = rounds
		}
		for _, one := range running {
			if served[one.key]++; served[one.key] == 1 {
				first[one.key] = rounds
			}
			last[one.key] = rounds
			all = slices.DeleteFunc(all, func(t *ticket) bool { return t == one })
		}
		for _, one := range running {
			g.leave(one)
		}
	}
	worst, sum, squares := 0, 0.0, 0.0
	for key, n := range served {
		worst = max(worst, first[key])
		if key != "flood" {
			if n != each {
				t.Errorf("%s was served %d times, want %d", key, n, each)
			}
			sum += float64(last[key] + 1)
			squares += float64((last[key] + 1) * (last[key] + 1))
		}
	}
	// In each lap every adapter has one turn: 64 turns over 8 rows are 8 rounds, one more where a lap begins in the middle.
	if lap := adapters/places + 1; worst > lap {
		t.Errorf("an adapter waited %d rounds for its first answer, want at most %d", worst, lap)
	}
	jain := sum * sum / (float64(adapters-1) * squares)
	if jain < 0.95 {
		t.Errorf("the rounds in which the adapters were done are as unequal as %.3f, want Jain's index above 0.95", jain)
	}
	t.Logf("%d adapters over %d slots: %d rounds, first answers within %d rounds, Jain's index of the times to the last answer %.3f, %d loads for %d answers",
		adapters, places, rounds, worst+1, jain, swaps, 2*each*(adapters-1))
}

// oldest is the adapter that was used the longest ago of those not in use.
func oldest(slots map[string]int, now map[string]bool) (key string) {
	for one, round := range slots {
		if !now[one] && (key == "" || round < slots[key]) {
			key = one
		}
	}
	return key
}
