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
		return Processors{at: start.Add(d(seconds)), machine: d(machine), own: d(own), count: 4}
	}
	const n = 4
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
		{Processors{at: start.Add(time.Second), machine: time.Second, count: 3}, 0}, // the affinity changed
	} {
		if got := BusyElsewhere(at(0, 0, 0), c.to); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%+v: %g of the processors, want %g", c.to, got, c.want)
		}
	}
}

func TestWorked(t *testing.T) {
	t.Parallel()
	const stat = "cpu  300 20 30 9999 50 1 2 3 0 0\n" +
		"cpu0 100 20 30 9999 50 1 2 3 0 0\ncpu1 100 0 0 5 5 0 0 0 0 0\ncpu10 7 0 0 5 5 0 0 0 0 0\nintr 1 2 3\n"
	for _, c := range []struct {
		list  string
		total time.Duration // hundredths of a second
		count int
	}{
		{"0-63", 156 + 100 + 7, 3},
		{"0", 156, 1},
		{"1", 100, 1}, // another one's work is not counted
		{"0,9-11", 156 + 7, 2},
		{"none", 0, 0},
	} {
		total, count := worked(stat, allowed("Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t"+c.list+"\nMems_allowed_list:\t0\n"))
		if total != c.total*time.Second/100 || count != c.count {
			t.Errorf("%s: %v of %d processors, want %v hundredths of %d", c.list, total, count, int64(c.total), c.count)
		}
	}
	p := ProcessorsNow()
	if runtime.GOOS == "linux" && (p.count != runtime.NumCPU() || p.machine <= 0) {
		t.Errorf("the machine says %+v, it has %d processors for this process", p, runtime.NumCPU())
	}
}
