package device

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Processors is what the processors of the machine worked up to a moment.
type Processors struct {
	// at is the moment; machine is the time that all processors worked since the system started, own what of it this process
	// did. known is false where the system does not say.
	at           time.Time
	machine, own time.Duration
	known        bool
}

// ProcessorsNow reads what the processors worked so far. Only Linux tells of other processes.
func ProcessorsNow() Processors {
	p := Processors{at: time.Now()}
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return p
	}
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return p
	}
	p.own = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	p.machine, p.known = worked(string(text))
	return p
}

// worked is the time that all processors did not idle, from the text of /proc/stat, whose unit is a hundredth of a second.
// Time that the host of a virtual machine took counts too.
func worked(stat string) (time.Duration, bool) {
	var user, nice, system, idle, wait, irq, soft, steal int64
	first, _, _ := strings.Cut(stat, "\n")
	if n, err := fmt.Sscanf(first, "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &soft, &steal); n != 8 || err != nil {
		return 0, false
	}
	return time.Duration(user+nice+system+irq+soft+steal) * (time.Second / 100), true
}

// BusyElsewhere is the share of all processors, from 0 to 1, that other work took between two moments; 0 where it is not known.
func BusyElsewhere(from, to Processors) float64 {
	span := to.at.Sub(from.at) * time.Duration(runtime.NumCPU())
	if !from.known || !to.known || span <= 0 {
		return 0
	}
	others := (to.machine - from.machine) - (to.own - from.own)
	return min(1, max(0, others.Seconds()/span.Seconds()))
}
