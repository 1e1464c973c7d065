// Estimatecheck runs `descant estimate` and then `descant train` with the same flags, and compares memory and time:
//
//	go run ./scripts/estimatecheck --descant build/descant -- --model builtin:tiny --max-steps 60
//
// It fails when memory is more than 15 % off, or time more than 25 %.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// How far an estimate may be from what then happens.
const (
	memoryLimit = 0.15
	timeLimit   = 0.25
)

func main() {
	descant := flag.String("descant", "build/descant", "binary to check")
	flag.Parse()
	if err := check(*descant, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "estimatecheck:", err)
		os.Exit(1)
	}
}

func check(descant string, flags []string) error {
	text, err := exec.Command(descant, append([]string{"estimate", "--json"}, flags...)...).Output()
	if err != nil {
		return fmt.Errorf("estimate: %w: %s", err, text)
	}
	var estimate struct {
		Seconds   float64 `json:"seconds"`
		PeakBytes float64 `json:"peak_bytes"`
	}
	if err := json.Unmarshal(text, &estimate); err != nil {
		return fmt.Errorf("estimate: %w", err)
	}
	dir, err := os.MkdirTemp("", "estimatecheck-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	peak, took, err := train(descant, append(flags, "--output-dir", dir))
	if err != nil {
		return err
	}
	memory, clock := estimate.PeakBytes/peak-1, estimate.Seconds/took.Seconds()-1
	fmt.Printf("| | estimated | measured | off by |\n|---|---|---|---|\n")
	fmt.Printf("| peak memory | %.2f GiB | %.2f GiB | %+.0f %% |\n", estimate.PeakBytes/(1<<30), peak/(1<<30), 100*memory)
	fmt.Printf("| time | %.1f s | %.1f s | %+.0f %% |\n", estimate.Seconds, took.Seconds(), 100*clock)
	var errs []error
	if memory > memoryLimit || memory < -memoryLimit {
		errs = append(errs, fmt.Errorf("memory is off by more than %.0f %%", 100*memoryLimit))
	}
	if clock > timeLimit || clock < -timeLimit {
		errs = append(errs, fmt.Errorf("time is off by more than %.0f %%", 100*timeLimit))
	}
	return errors.Join(errs...)
}

// train runs the training and gives the peak of its memory in bytes, as the system counted it, and its time.
func train(descant string, flags []string) (peak float64, took time.Duration, err error) {
	cmd := exec.Command(descant, append([]string{"train"}, flags...)...)
	cmd.Stderr = os.Stderr
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("train: %w", err)
	}
	took = time.Since(begin)
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0, 0, errors.New("train: this system does not tell the peak of the memory")
	}
	peak = float64(usage.Maxrss)
	if runtime.GOOS == "linux" {
		peak *= 1024 // there it is in KiB
	}
	return peak, took, nil
}
