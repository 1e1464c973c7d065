// Benchtrain trains a LoRA adapter by descant and by PyTorch with PEFT alternately, on the same base and the same rows,
// each in a process of its own, and prints medians as a table:
//
//	go run ./scripts/benchtrain --cache FOLDER --tokenizer FOLDER [--data FILE]
//
// The base has the shape of Qwen2.5-0.5B and random weights; it is made on first use, as is the virtual environment of
// the peer. `make bench-train` runs it. Run it on an idle machine.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
)

func main() {
	var o options
	flag.StringVar(&o.cache, "cache", "", "folder that keeps the base and the peer's virtual environment")
	flag.StringVar(&o.model, "model", "", "folder of the base; without it one is made with random weights")
	flag.StringVar(&o.tokenizer, "tokenizer", "", "folder with tokenizer.json and tokenizer_config.json, for a base that is made")
	flag.StringVar(&o.data, "data", "", "dataset for the rows; without it the built-in sample")
	shapes := flag.String("shapes", "1x128,4x256,1x1024,mix,packed", "rows x tokens of a step; mix are 4 rows as they are, packed those packed to 1024 tokens")
	dtypes := flag.String("dtypes", "f32,bf16", "dtypes to compute in")
	flag.IntVar(&o.rounds, "rounds", 3, "runs of each side")
	flag.IntVar(&o.tokens, "tokens", 4096, "tokens that each run trains after its first step, about")
	worker := flag.String("worker", "", "run one job file (what the benchmark starts for descant's side)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := func() error {
		if *worker != "" {
			return work(ctx, *worker)
		}
		if o.cache == "" || o.rounds < 1 || o.tokens < 1 {
			return errors.New("--cache is needed, and --rounds and --tokens are at least 1")
		}
		o.shapes, o.dtypes = strings.Split(*shapes, ","), strings.Split(*dtypes, ",")
		return compare(ctx, o)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchtrain:", err)
		os.Exit(1)
	}
}

type options struct {
	cache, model, tokenizer, data string
	shapes, dtypes                []string
	rounds, tokens                int
}

// workload is what one process trains, as both sides read it.
type workload struct {
	Model   string  `json:"model"`
	DType   string  `json:"dtype"`
	Threads int     `json:"threads"`
	Begun   float64 `json:"begun"` // seconds since 1970 at which the process was started
	Steps   []micro `json:"steps"`
}

// micro is what one step trains: rows of token ids, all of which but the first of each row are trained.
type micro struct {
	Rows   [][]int32 `json:"rows"`
	Packed bool      `json:"packed"`
}

// outcome is what a process says in the end.
type outcome struct {
	// Tokens and Seconds are those of all steps but the first, which compiles or warms up.
	Tokens  int     `json:"tokens"`
	Seconds float64 `json:"seconds"`
	// FirstStepSeconds is from the start of the process to the end of the first step.
	FirstStepSeconds float64   `json:"first_step_seconds"`
	PeakBytes        float64   `json:"peak_bytes"`
	Losses           []float64 `json:"losses"`
}

func (o outcome) speed() float64 { return float64(o.Tokens) / o.Seconds }

func (w workload) write(file string) error {
	data, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}
