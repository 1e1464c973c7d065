package inference

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"descant/pkg/lifecycle"
)

// TestSoak publishes adapter after adapter, each made to answer something else, while requests for all of them come in
// and two slots, a little host memory and a small disk hold few of them: every answer must be that of the version that
// was asked for, the newest must answer as soon as its worker says that it is ready, and memory must not grow.
// DESCANT_SOAK_CYCLES makes it longer than 60 publications.
func TestSoak(t *testing.T) {
	t.Parallel()
	cycles := 60
	if text := os.Getenv("DESCANT_SOAK_CYCLES"); text != "" {
		var err error
		if cycles, err = strconv.Atoi(text); err != nil || cycles < 20 {
			t.Fatalf("DESCANT_SOAK_CYCLES is %q: give a number of at least 20", text)
		}
	}
	f := newFleet(t)
	s := f.worker(t, "w-1", f.registry, func(c *Config) {
		c.HostBytes, c.DiskBytes = lifecycle.Bytes(16<<10), lifecycle.Bytes(64<<10)
	})
	var mu sync.RWMutex
	answers := map[string]string{} // by name@version
	var models []string
	var asked atomic.Int64
	traffic, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range 3 {
		clients.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 7))
			for traffic.Err() == nil {
				mu.RLock()
				if len(models) == 0 {
					mu.RUnlock()
					runtime.Gosched()
					continue
				}
				model := models[max(0, len(models)-1-random.IntN(8))]
				want := answers[model]
				mu.RUnlock()
				got, by, err := f.ask(traffic, "w-1", model)
				if traffic.Err() != nil {
					return
				}
				if err != nil || got != want || by != model {
					t.Errorf("%s is answered %q by %s, %v; want %q", model, got, by, err, want)
					return
				}
				asked.Add(1)
			}
		})
	}
	defer clients.Wait()
	defer stop()
	var settled uint64
	for n := range cycles {
		found, answer := f.publish(t, fmt.Sprintf("soak-%d", n%10), n, nil)
		mu.Lock()
		models, answers[found.Pinned()] = append(models, found.Pinned()), answer
		mu.Unlock()
		f.until(t, "w-1", found.Version.GetDigest(), stateReady)
		if got, by, err := f.ask(t.Context(), "w-1", found.Name); err != nil || got != answer || by != found.Pinned() {
			t.Fatalf("%s is ready and answers %q by %s, %v; want %q", found.Pinned(), got, by, err, answer)
		}
		if n == cycles/3 {
			settled = heap()
		}
	}
	stop()
	clients.Wait()
	if asked.Load() == 0 {
		t.Error("no request was answered: there was no traffic")
	}
	if grown := int64(heap()) - int64(settled); grown > 8<<20 {
		t.Errorf("memory grew by %d bytes in %d cycles", grown, cycles-cycles/3)
	}
	if slots := s.pool.loaded()[0].slots.keys(); len(slots) > 2 {
		t.Errorf("%d adapters are in 2 slots", len(slots))
	}
	t.Logf("%d cycles, %d answers beside them, heap %d then %d bytes", cycles, asked.Load(), settled, heap())
}

// heap is what is still used after everything that is not was given back.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
