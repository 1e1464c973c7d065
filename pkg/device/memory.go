package device

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Memory holds the memory facts of the machine and of this process, in bytes; 0 means that the system does not say.
type Memory struct {
	// Total and Available are those of the machine, or of the container where that is less.
	Total     int64 `json:"total"`
	Available int64 `json:"available"`
	// RSS is the resident size of this process now, PeakRSS the most that it has been.
	RSS     int64 `json:"rss"`
	PeakRSS int64 `json:"peak_rss"`
}

// MemoryFacts reads the memory facts from the system; on systems without /proc all are 0.
func MemoryFacts() Memory {
	var m Memory
	info := procFields("/proc/meminfo")
	m.Total, m.Available = info["MemTotal"], info["MemAvailable"]
	if limit := cgroupLimit(); limit > 0 && (m.Total == 0 || limit < m.Total) {
		m.Total = limit
		m.Available = min(m.Available, max(0, limit-readInt("/sys/fs/cgroup/memory.current")))
	}
	status := procFields("/proc/self/status")
	m.RSS, m.PeakRSS = status["VmRSS"], status["VmHWM"]
	return m
}

// PeakRSSOf is the most memory that another process has had, in bytes.
func PeakRSSOf(pid int) (int64, error) {
	if peak := procFields(fmt.Sprintf("/proc/%d/status", pid))["VmHWM"]; peak > 0 {
		return peak, nil
	}
	return 0, fmt.Errorf("the system does not tell the peak memory of process %d", pid)
}

// procFields reads the lines "Name:   123 kB" of a file under /proc, in bytes.
func procFields(path string) map[string]int64 {
	fields := map[string]int64{}
	data, err := os.ReadFile(path)
	if err != nil {
		return fields
	}
	scanner := bufio.NewScanner(bytes.NewReader(data))
	for scanner.Scan() {
		name, rest, ok := strings.Cut(scanner.Text(), ":")
		value, isKB := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		if !ok || !isKB {
			continue
		}
		if kb, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
			fields[name] = kb << 10
		}
	}
	return fields
}

func cgroupLimit() int64 { return readInt("/sys/fs/cgroup/memory.max") }

// readInt reads a file of one number; 0 where it is absent or says "max".
func readInt(path string) int64 {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// CPU holds the facts of the processor that matter for speed.
type CPU struct {
	Model string `json:"model"`
	Cores int    `json:"cores"`
	// Flags are those of [interesting] that the processor has.
	Flags []string `json:"flags"`
}

// interesting lists the flags that decide which kernels a backend picks: bf16 on the CPU is only worth it with
// avx512_bf16 or amx_bf16.
func interesting() []string {
	return []string{"avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve", "i8mm"}
}

// CPUFacts reads the facts of the processor.
func CPUFacts() CPU {
	c := CPU{Cores: runtime.NumCPU()}
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return c
	}
	present := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		name, rest, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(name) {
		case "model name":
			c.Model = strings.TrimSpace(rest)
		case "flags", "Features":
			for _, flag := range strings.Fields(rest) {
				present[flag] = true
			}
		}
		if c.Model != "" && len(present) > 0 {
			break
		}
	}
	for _, flag := range interesting() {
		if present[flag] {
			c.Flags = append(c.Flags, flag)
		}
	}
	return c
}

// FastBF16 says whether this processor multiplies bf16 with instructions of its own that are faster than those for f32.
func (c CPU) FastBF16() bool { return c.Has("amx_bf16") || c.Has("bf16") || multipliesPairs() }

// Has says whether the processor has the flag.
func (c CPU) Has(flag string) bool {
	for _, f := range c.Flags {
		if f == flag {
			return true
		}
	}
	return false
}
