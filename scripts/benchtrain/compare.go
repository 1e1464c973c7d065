package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"descant/pkg/hub/hubtest"
	"descant/scripts/peft"
)

//go:embed peer.py
var peer []byte

// side is one of the two that are compared.
type side struct {
	name    string
	command func(ctx context.Context, job string) *exec.Cmd
}

// compare runs every workload on both sides in turn and prints the medians.
func compare(ctx context.Context, o options) error {
	if err := os.MkdirAll(o.cache, 0o755); err != nil {
		return err
	}
	model, err := base(o)
	if err != nil {
		return err
	}
	sides, err := bothSides(ctx, o.cache)
	if err != nil {
		return err
	}
	rows, err := tokenised(ctx, model, o.data)
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d threads; medians of %d runs\n\n", runtime.GOARCH, runtime.NumCPU(), o.rounds)
	fmt.Println("| rows | dtype | side | tokens/s | peak memory | first step | loss |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, shape := range o.shapes {
		list, err := steps(rows, shape, o.tokens)
		if err != nil {
			return err
		}
		for _, dtype := range o.dtypes {
			w := workload{Model: model, DType: dtype, Threads: runtime.NumCPU(), Steps: list}
			if err := alternate(ctx, o, shape, w, sides); err != nil {
				return fmt.Errorf("%s %s: %w", shape, dtype, err)
			}
		}
	}
	return nil
}

// base is the folder of the base, made on first use.
func base(o options) (string, error) {
	if o.model != "" {
		return o.model, nil
	}
	if o.tokenizer == "" {
		return "", errors.New("a base is made with a tokenizer: give --tokenizer FOLDER, or --model FOLDER for a base that is there")
	}
	if err := hubtest.IsTokenizerDir(o.tokenizer); err != nil {
		return "", err
	}
	dir := filepath.Join(o.cache, "qwen2.5-0.5b-shaped")
	return dir, hubtest.MakeCheckpoint(dir, o.tokenizer, hubtest.Qwen05B())
}

// bothSides installs the peer, once.
func bothSides(ctx context.Context, cache string) ([]side, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	script := filepath.Join(cache, "peer.py")
	if err := os.WriteFile(script, peer, 0o644); err != nil {
		return nil, err
	}
	python, err := peft.Install(ctx, filepath.Join(cache, "peer"))
	if err != nil {
		return nil, err
	}
	return []side{
		{"descant", func(ctx context.Context, job string) *exec.Cmd {
			return exec.CommandContext(ctx, self, "--worker", job)
		}},
		{"PyTorch + PEFT", func(ctx context.Context, job string) *exec.Cmd { return exec.CommandContext(ctx, python, script, job) }},
	}, nil
}

// alternate runs the sides in turn and prints a line for each.
func alternate(ctx context.Context, o options, shape string, w workload, sides []side) error {
	all := make([][]outcome, len(sides))
	for range o.rounds {
		for i, s := range sides {
			out, err := s.run(ctx, o.cache, w)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			all[i] = append(all[i], out)
		}
	}
	var medians []float64
	for i, s := range sides {
		middle := func(of func(outcome) float64) float64 {
			values := make([]float64, len(all[i]))
			for k, out := range all[i] {
				values[k] = of(out)
			}
			slices.Sort(values)
			return (values[len(values)/2] + values[(len(values)-1)/2]) / 2
		}
		speed := middle(outcome.speed)
		medians = append(medians, speed)
		fmt.Printf("| %s | %s | %s | %.1f | %.2f GiB | %.1f s | %.4f |\n", shape, w.DType, s.name, speed,
			middle(func(o outcome) float64 { return o.PeakBytes })/(1<<30),
			middle(func(o outcome) float64 { return o.FirstStepSeconds }),
			middle(func(o outcome) float64 { return o.Losses[0] }))
	}
	fmt.Printf("| | | ratio | %.2f | | | |\n", medians[0]/medians[1])
	// The first step's loss is that of the base: a side that computes something else must not be compared.
	if a, b := all[0][0].Losses[0], all[1][0].Losses[0]; math.Abs(a-b) > 0.02*math.Abs(b) && shape != "packed" {
		return fmt.Errorf("the losses of the first step differ: %g and %g", a, b)
	}
	return nil
}

// run starts one process and reads what it says.
func (s side) run(ctx context.Context, dir string, w workload) (out outcome, err error) {
	job := filepath.Join(dir, "job.json")
	w.Begun = float64(time.Now().UnixMicro()) / 1e6
	if err := w.write(job); err != nil {
		return out, err
	}
	cmd := s.command(ctx, job)
	cmd.Env = hugePages(os.Environ())
	var said bytes.Buffer
	cmd.Stderr = &said
	text, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%w: %s", err, said.String())
	}
	return out, json.Unmarshal(text, &out)
}

// hugePages asks glibc's malloc for transparent huge pages, which many systems grant on demand only: without them the
// kernel's page faults are a quarter of a step of PyTorch. A tunable that is set already stays.
func hugePages(env []string) []string {
	const name = "GLIBC_TUNABLES"
	if os.Getenv(name) != "" {
		return env
	}
	return append(env, name+"=glibc.malloc.hugetlb=1")
}
