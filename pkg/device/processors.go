package device

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// Processors is what the processors that this process may use worked up to a moment: those of its affinity and its cpuset.
type Processors struct {
	// at is the moment; machine is the time that these processors worked since the system started, own what of it this process
	// did. count is how many they are, 0 where the system does not say.
	at           time.Time
	machine, own time.Duration
	count        int
}

// ProcessorsNow reads what the processors worked so far. Only Linux tells of other processes.
func ProcessorsNow() Processors {
	p := Processors{at: time.Now()}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return p
	}
	status, err := os.ReadFile("/proc/self/status") // its list is the affinity within the cpuset
	if err != nil {
		return p
	}
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return p
	}
	p.own = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	p.machine, p.count = worked(string(stat), allowed(string(status)))
	return p
}

// allowed are the numbers of the processors that a process may use, from the text of /proc/self/status.
func allowed(status string) map[int]bool {
	numbers := map[int]bool{}
	for line := range strings.Lines(status) {
		list, ok := strings.CutPrefix(line, "Cpus_allowed_list:")
		if !ok {
			continue
		}
		for part := range strings.SplitSeq(strings.TrimSpace(list), ",") { // such as 0-3,8
			var first, last int
			if n, err := fmt.Sscanf(part, "%d-%d", &first, &last); n == 1 {
				last = first
			} else if err != nil {
				return nil
			}
			for i := first; i <= last; i++ {
				numbers[i] = true
			}
		}
	}
	return numbers
}

// worked is the time that some processors did not idle, and how many of them there are, from the text of /proc/stat, whose unit
// is a hundredth of a second. Time that the host of a virtual machine took counts too.
func worked(stat string, which map[int]bool) (total time.Duration, count int) {
	for line := range strings.Lines(stat) {
		var number int
		var user, nice, system, idle, wait, irq, soft, steal int64
		n, err := fmt.Sscanf(line, "cpu%d %d %d %d %d %d %d %d %d", &number, &user, &nice, &system, &idle, &wait, &irq, &soft, &steal)
		if n == 9 && err == nil && which[number] {
			total += time.Duration(user+nice+system+irq+soft+steal) * (time.Second / 100)
			count++
		}
	}
	return total, count
}

// BusyElsewhere is the share of the processors that this process may use, from 0 to 1, that other work took between two
// moments; 0 where it is not known.
func BusyElsewhere(from, to Processors) float64 {
	span := to.at.Sub(from.at) * time.Duration(to.count)
	if from.count != to.count || span <= 0 {
		return 0
	}
	others := (to.machine - from.machine) - (to.own - from.own)
	return min(1, max(0, others.Seconds()/span.Seconds()))
}
