package inference

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"descant/pkg/bus"
	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// The soak: adapters of so many names, so many of them published at a time, and clients that ask.
const (
	soakNames   = 5
	soakLive    = 10
	soakClients = 4
	// soakShort is how many adapters are trained, and soakShortCycles how often one is published, unless
	// DESCANT_SOAK_CYCLES gives the number of cycles: then as many are trained, up to 500.
	soakShort, soakShortCycles = 8, 24
)

// TestSoak publishes, loads and deletes adapter after adapter under traffic, on the backend that `descant up` uses. Adapter
// n was trained to answer n. Every answer must be that of the version that was asked for, or by a name of one not older
// than what had been published before; what is deleted must leave slots, host memory and disk; memory, goroutines and
// metrics must not grow. It runs alone, so that what grows is its own.
func TestSoak(t *testing.T) {
	trained, cycles := soakShort, soakShortCycles
	if text := os.Getenv("DESCANT_SOAK_CYCLES"); text != "" {
		var err error
		if cycles, err = strconv.Atoi(text); err != nil || cycles < soakShortCycles {
			t.Fatalf("DESCANT_SOAK_CYCLES is %q: give a number of at least %d", text, soakShortCycles)
		}
		trained = min(cycles, 500)
	}
	s := newSoak(t, trained)
	traffic, stop := context.WithCancel(t.Context())
	defer s.clients.Wait()
	defer stop()
	for i := range soakClients {
		s.clients.Go(func() { s.client(traffic, rand.New(rand.NewPCG(uint64(i), 7))) })
	}
	for n := range cycles {
		s.cycle(n)
		if t.Failed() {
			return
		}
		if n%max(1, cycles/50) == 0 || n == cycles-1 {
			s.sample(n + 1)
		}
	}
	stop()
	s.clients.Wait()
	for len(s.live) > 0 {
		s.delete()
	}
	s.empty()
	if stats := s.worker.pool.loaded()[0].engine.Stats(); stats.Rows+stats.Waiting > 0 {
		t.Errorf("after the last request the engine has %+v", stats)
	}
	for kind := range s.asked {
		if s.asked[kind].Load() == 0 {
			t.Errorf("nothing was asked of kind %d", kind)
		}
	}
	s.report()
	s.grown()
}

// soak is a worker under test, what is published and what was seen.
type soak struct {
	t       *testing.T
	fleet   *fleet
	worker  *Service
	text    *language
	numbers []number
	base    string // its answer
	clients sync.WaitGroup

	mu      sync.Mutex
	answers map[string]string // by name@version, also of what was deleted
	newest  map[string]uint32 // version of each name whose publication has ended
	live    []registry.Resolved
	gone    map[string]bool // name@version whose deletion has begun

	asked   [askKinds]atomic.Int64
	ready   []time.Duration // from the begin of each publication
	samples []soakSample
}

func newSoak(t *testing.T, trained int) *soak {
	t.Helper()
	s := &soak{t: t, text: tinyLanguage(t), answers: map[string]string{}, newest: map[string]uint32{}, gone: map[string]bool{}}
	s.numbers = trainNumbers(t, trained)
	s.fleet = fleetOn(t, device.XLA)
	s.worker = s.fleet.worker(t, "w-1", s.fleet.registry, func(c *Config) {
		c.MaxRows, c.Slots, c.MaxRank, c.Relist = 4, 8, numberRank, time.Second
		c.HostBytes, c.DiskBytes = 700<<10, 900<<10 // six and eight adapters: fewer than are published
	})
	one, err := s.ask(t.Context(), "", false)
	if err != nil || one.text == "" {
		t.Fatalf("the base answers %q, %v", one.text, err)
	}
	s.base = one.text
	if e, real := s.worker.pool.loaded()[0].engine.(generator); !real {
		t.Fatal("the worker's engine is none")
	} else if err := e.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// cycle publishes an adapter, waits until it answers, and deletes the oldest.
func (s *soak) cycle(n int) {
	t := s.t
	t.Helper()
	name, one := fmt.Sprintf("soak-%d", n%soakNames), s.numbers[n%len(s.numbers)]
	s.mu.Lock()
	s.answers[registry.Pinned(name, s.newest[name]+1)] = one.answer
	s.mu.Unlock()
	began := time.Now()
	found, err := s.fleet.registry.Publish(t.Context(), one.dir, s.fleet.manifest(name, fmt.Sprintf("ft-soak-%d", n), s.text, one.probe))
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.newest[name]++
	s.live = append(s.live, found)
	s.mu.Unlock()
	s.fleet.until(t, "w-1", found.Version.GetDigest(), stateReady)
	s.ready = append(s.ready, time.Since(began))
	if got, err := s.ask(t.Context(), name, false); err != nil || got.text != one.answer || got.by != found.Pinned() {
		t.Fatalf("%s is ready and answers %q by %s, %v; want %q", found.Pinned(), got.text, got.by, err, one.answer)
	}
	if len(s.live) > soakLive {
		s.delete()
	}
}

// delete takes the oldest version away and waits until no tier holds it.
func (s *soak) delete() {
	t := s.t
	t.Helper()
	s.mu.Lock()
	found := s.live[0]
	s.live = s.live[1:]
	s.gone[found.Pinned()] = true
	s.mu.Unlock()
	if _, err := s.fleet.registry.Delete(t.Context(), found.Pinned(), time.Now()); err != nil {
		t.Fatal(err)
	}
	digest := found.Version.GetDigest()
	tick, deadline := time.NewTicker(10*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for {
		slots := s.worker.pool.loaded()[0].slots
		if !slots.has(digest) && !s.worker.host.has(digest) && !s.worker.disk.has(digest) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s was deleted a minute ago: in a slot %v, in host memory %v, on disk %v", found.Pinned(), slots.has(digest), s.worker.host.has(digest), s.worker.disk.has(digest))
		}
	}
}

// What clients ask for.
const (
	askPinned = iota
	askNewest
	askBase
	askSum
	askCancelled
	askKinds
)

// said is an answer.
type said struct{ text, by string }

// client asks until its context ends and checks what comes back.
func (s *soak) client(ctx context.Context, random *rand.Rand) {
	for ctx.Err() == nil && !s.t.Failed() {
		kind := [...]int{askPinned, askPinned, askPinned, askNewest, askNewest, askBase, askSum, askSum, askCancelled}[random.IntN(9)]
		s.mu.Lock()
		if len(s.live) < 2 {
			kind = askBase
		}
		var a, b registry.Resolved
		var floor uint32
		if kind != askBase {
			a, b = s.live[random.IntN(len(s.live))], s.live[random.IntN(len(s.live))]
			floor = s.newest[a.Name]
		}
		s.mu.Unlock()
		model, want := a.Pinned(), a.Pinned()
		switch kind {
		case askNewest:
			model, want = a.Name, ""
		case askBase:
			model, want = "", ""
		case askSum:
			model = a.Pinned() + "+" + b.Pinned() + "*1e-06" // so little of it changes no answer
			want = model
		}
		asking, cancel := context.WithCancel(ctx)
		if kind == askCancelled {
			asking, cancel = context.WithTimeout(ctx, time.Duration(random.IntN(30))*time.Millisecond)
		}
		got, err := s.ask(asking, model, random.IntN(2) == 0)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case kind == askCancelled && errors.Is(err, context.DeadlineExceeded):
		case err != nil && kind != askNewest && s.deleting(err, a, b):
			continue
		case err != nil:
			s.t.Errorf("%q gets %v", model, err)
		default:
			s.check(kind, model, got, want, floor)
		}
		s.asked[kind].Add(1)
	}
}

// deleting tells whether a request failed because one of its versions was deleted meanwhile.
func (s *soak) deleting(err error, found ...registry.Resolved) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var failed *bus.Failure
	return errors.As(err, &failed) && failed.Detail.GetCode() == string(job.CodeNotFound) &&
		slices.ContainsFunc(found, func(one registry.Resolved) bool { return s.gone[one.Pinned()] })
}

// check compares an answer with what its version was trained to say.
func (s *soak) check(kind int, model string, got said, by string, floor uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	version, _, _ := strings.Cut(got.by, "+")
	want := s.answers[version]
	if kind == askBase {
		want = s.base
	}
	if kind == askNewest {
		ref, err := registry.ParseReference(version)
		if err != nil || ref.Name != model || ref.Version < floor {
			s.t.Errorf("%s is answered by %q, and version %d was published before: %v", model, got.by, floor, err)
		}
		by = got.by
	}
	if got.text != want || got.by != by {
		s.t.Errorf("%q is answered %q by %q; want %q by %q", model, got.text, got.by, want, by)
	}
}

// ask sends the question to the worker.
func (s *soak) ask(ctx context.Context, model string, stream bool) (got said, err error) {
	req := &pb.ChatRequest{Model: model, Prompt: whichNumber, MaxTokens: 8, Temperature: ptr(0.0), Stream: &stream}
	for chunk, err := range s.fleet.bus.Chat(ctx, bus.WorkerSubject("w-1"), req, time.Minute) {
		if err != nil {
			return said{}, err
		}
		got.text += chunk.GetDelta()
		got.by = chunk.GetModel()
	}
	return got, nil
}
