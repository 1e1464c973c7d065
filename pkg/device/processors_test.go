package device

import (
	"math"
	"runtime"
	"testing"
	"time"
)

func TestBusyElsewhere(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(seconds, machine, own float64) Processors {
		d := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
		return Processors{at: start.Add(d(seconds)), machine: d(machine), own: d(own), known: true}
	}
	n := float64(runtime.NumCPU())
	for _, c := range []struct {
		to   Processors
		want float64
	}{
		{at(10, 10*n, 10*n), 0},
		{at(10, 10*n, 5*n), 0.5},
		{at(10, 4*n, 1*n), 0.3},
		{at(10, 1, 2), 0}, // clocks of different steps
		{Processors{at: start.Add(time.Second)}, 0},
		{at(0, 0, 0), 0},
	} {
		if got := BusyElsewhere(at(0, 0, 0), c.to); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v: %g of the processors, want %g", c.to, got, c.want)
		}
	}
}

func TestWorked(t *testing.T) {
	t.Parallel()
	got, ok := worked("cpu  100 20 30 9999 50 1 2 3 0 0\ncpu0 1 2 3\n")
	if want := 156 * time.Second / 100; !ok || got != want {
		t.Errorf("%v, %v, want %v", got, ok, want)
	}
	if _, ok := worked("intr 1 2 3"); ok {
		t.Error("another file is taken for the times of processors")
	}
	p := ProcessorsNow()
	if runtime.GOOS == "linux" && (!p.known || p.machine < p.own || p.machine <= 0) {
		t.Errorf("the machine says %+v", p)
	}
}
