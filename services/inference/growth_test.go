package inference

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"descant/pkg/device"
)

// soakSample is what the process holds after so many cycles.
type soakSample struct {
	cycles, goroutines, series int
	rss                        int64
	heap                       uint64
}

// sample notes what the process holds now.
func (s *soak) sample(cycles int) {
	s.t.Helper()
	one := soakSample{cycles: cycles, goroutines: runtime.NumGoroutine(), series: len(s.metrics())}
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	one.rss, one.heap = device.MemoryFacts().RSS, stats.HeapAlloc
	s.samples = append(s.samples, one)
}

// metrics asks for the worker's metrics.
func (s *soak) metrics() (lines []string) {
	s.t.Helper()
	_, text := call(s.t, s.worker.deps.Metrics.Handler(), http.MethodGet, "/metrics", "")
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// Bounds of growth. The weights of an adapter of the soak take 106 KiB.
const (
	// growthSlope is in bytes of RSS for a cycle, by the line of least squares through the second half; of a short soak the
	// bound would be lost in the noise.
	growthSlope, growthSlopeCycles = 16 << 10, 200
	// growthRSS and growthHeap are from a third of the cycles to the end.
	growthRSS, growthHeap = 24 << 20, 8 << 20
	growthGoroutines      = 20
)

// grown fails the test for what has grown.
func (s *soak) grown() {
	t := s.t
	t.Helper()
	first, last := s.samples[len(s.samples)/3], s.samples[len(s.samples)-1]
	if by := last.rss - first.rss; by > growthRSS {
		t.Errorf("RSS grew by %d bytes from cycle %d to %d", by, first.cycles, last.cycles)
	}
	if by := int64(last.heap) - int64(first.heap); by > growthHeap {
		t.Errorf("the Go heap grew by %d bytes from cycle %d to %d", by, first.cycles, last.cycles)
	}
	if last.goroutines > first.goroutines+growthGoroutines {
		t.Errorf("%d goroutines after cycle %d, %d after %d", first.goroutines, first.cycles, last.goroutines, last.cycles)
	}
	if last.series > first.series {
		t.Errorf("%d metrics after cycle %d, %d after %d: one for each adapter would fill Prometheus", first.series, first.cycles, last.series, last.cycles)
	}
	slope := rssSlope(s.samples[len(s.samples)/2:])
	t.Logf("RSS in the second half: %+.1f KiB a cycle", slope/(1<<10))
	if last.cycles >= growthSlopeCycles && slope > growthSlope {
		t.Errorf("RSS grows by %.0f bytes a cycle", slope)
	}
}

// rssSlope is that of the line of least squares, in bytes a cycle.
func rssSlope(samples []soakSample) float64 {
	n, x, y, xx, xy := float64(len(samples)), 0.0, 0.0, 0.0, 0.0
	for _, one := range samples {
		c, r := float64(one.cycles), float64(one.rss)
		x, y, xx, xy = x+c, y+r, xx+c*c, xy+c*r
	}
	return (n*xy - x*y) / (n*xx - x*x)
}

// empty fails the test unless every tier comes to be empty, by the gauges.
func (s *soak) empty() {
	t := s.t
	t.Helper()
	tick, deadline := time.NewTicker(50*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for {
		held := slices.DeleteFunc(s.metrics(), func(line string) bool { return !strings.HasPrefix(line, "descant_adapters_held") })
		full := slices.DeleteFunc(slices.Clone(held), func(line string) bool { return strings.HasSuffix(line, " 0") })
		if len(held) == 5 && len(full) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("everything was deleted a minute ago, and the gauges say %v", held)
		}
	}
}

// report prints what was seen.
func (s *soak) report() {
	slices.Sort(s.ready)
	at := func(part float64) time.Duration {
		return s.ready[int(part*float64(len(s.ready)-1))].Round(time.Millisecond)
	}
	s.t.Logf("%d cycles with %d trained adapters; from the begin of a publication to ready: p50 %s, p95 %s, p99 %s, max %s", len(s.ready), len(s.numbers), at(.5), at(.95), at(.99), at(1))
	s.t.Logf("answered and right: %d for versions, %d for names, %d for the base, %d for sums, %d that were cancelled or had been quick", s.asked[askPinned].Load(),
		s.asked[askNewest].Load(), s.asked[askBase].Load(), s.asked[askSum].Load(), s.asked[askCancelled].Load())
	for _, one := range s.samples {
		s.t.Logf("after %4d cycles: RSS %6.1f MiB, Go heap %5.1f MiB, %d goroutines, %d metrics", one.cycles, float64(one.rss)/(1<<20), float64(one.heap)/(1<<20), one.goroutines, one.series)
	}
}
