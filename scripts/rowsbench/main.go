// Command rowsbench measures how many rows a second become tokenized shards, and how much memory that takes.
//
//	go run ./scripts/rowsbench -model MODEL [-rows 1000000] [-file rows.jsonl] [-profile cpu.out] [-service build/descant]
//
// It writes the rows (instructions of many lengths, made from a seed, no two alike) into the file unless that is there,
// tokenizes them as the tokenizer service does, opens the shards and goes through them in training order, and prints one
// line of JSON. Seconds and processor time are those of rows becoming shards, without the loading of the tokenizer. With
// -service the rows go through a job, and the memory is that of the process `descant tokenizer`. hf.py beside it makes the
// same shards with Hugging Face's tokenizers from Python.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"syscall"
	"time"

	"descant/pkg/dataset"
	"descant/pkg/device"
	"descant/pkg/job"
	"descant/services/tokenizer"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "rowsbench:", err)
		os.Exit(1)
	}
}

// result is the line that is printed.
type result struct {
	Rows          int64   `json:"rows"`
	Tokens        int64   `json:"tokens"`
	Seconds       float64 `json:"seconds"`
	CPUSeconds    float64 `json:"cpu_seconds,omitempty"` // of all processors, user and system
	RowsPerSecond float64 `json:"rows_per_second"`
	LoadedRSS     int64   `json:"loaded_rss_bytes"` // peak until the base's tokenizer is loaded
	PeakRSS       int64   `json:"peak_rss_bytes"`
	Order         order   `json:"order"`
	OrderPeakRSS  int64   `json:"order_peak_rss_bytes"`
	Shards        int     `json:"shards"`
}

// order is what a trainer needs before and while it takes rows in the order of an epoch.
type order struct {
	OpenSeconds    float64 `json:"open_seconds"`    // the shards are read and checked
	ArrangeSeconds float64 `json:"arrange_seconds"` // for the epoch
	ReadSeconds    float64 `json:"read_seconds"`    // all rows, one after the other
	Tokens         int64   `json:"tokens"`
}

func run() error {
	model := flag.String("model", "", "folder of the base")
	rows := flag.Int("rows", 1_000_000, "rows to make")
	file := flag.String("file", "rows.jsonl", "file of the rows")
	profile := flag.String("profile", "", "file for a CPU profile")
	service := flag.String("service", "", "binary of descant: the rows go through its tokenizer as a process of its own")
	flag.Parse()
	if *model == "" {
		return errors.New("name a folder with -model")
	}
	if _, err := os.Stat(*file); err != nil {
		if err := write(*file, *rows); err != nil {
			return err
		}
	}
	if *profile != "" {
		out, err := os.Create(*profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(out); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	if *service != "" {
		r, err := serve(context.Background(), *service, *model, *file)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	r, err := measure(*model, *file)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func measure(model, file string) (*result, error) {
	enc, err := tokenizer.OpenEncoder(model, model)
	if err != nil {
		return nil, err
	}
	defer enc.Close()
	loaded := device.MemoryFacts().PeakRSS
	dir, err := os.MkdirTemp("", "rowsbench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	training := job.DefaultTraining()
	started, used := time.Now(), cpuSeconds()
	made, err := enc.Tokenise(context.Background(), []tokenizer.Part{{Path: file, Name: file, Weight: 1}}, training, dir, tokenizer.TokeniseOptions(training))
	if err != nil {
		return nil, err
	}
	part := made[0]
	r := &result{LoadedRSS: loaded, Rows: part.Rows, Tokens: part.Tokens, Seconds: time.Since(started).Seconds(), CPUSeconds: cpuSeconds() - used, PeakRSS: device.MemoryFacts().PeakRSS, Shards: len(part.Shards)}
	r.RowsPerSecond = float64(r.Rows) / r.Seconds
	var paths []string
	for _, name := range part.Shards {
		paths = append(paths, filepath.Join(dir, name))
	}
	if r.Order, err = inOrder(paths); err != nil {
		return nil, err
	}
	if r.Order.Tokens != r.Tokens {
		return nil, fmt.Errorf("the shards hold %d tokens, %d were made", r.Order.Tokens, r.Tokens)
	}
	r.OrderPeakRSS = device.MemoryFacts().PeakRSS
	return r, nil
}

// cpuSeconds is the time of processors that this process took.
func cpuSeconds() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // there is always one
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

// inOrder opens shards and goes through their rows as the first epoch of a training does.
func inOrder(paths []string) (o order, err error) {
	clock := func(of *float64, started time.Time) { *of = time.Since(started).Seconds() }
	started := time.Now()
	shards, err := dataset.OpenShards(paths)
	if err != nil {
		return o, err
	}
	clock(&o.OpenSeconds, started)
	started = time.Now()
	rows := shards.Order(job.DefaultTraining().Seed, 0)
	if err := shards.Arrange(rows); err != nil {
		return o, err
	}
	clock(&o.ArrangeSeconds, started)
	started = time.Now()
	for _, i := range rows {
		ids, _ := shards.Row(i)
		o.Tokens += int64(len(ids))
	}
	clock(&o.ReadSeconds, started)
	return o, nil
}

// write makes rows from the sentences of the built-in sample, most of them Chinese; a number makes each different.
func write(file string, rows int) error {
	var pieces []string
	for _, row := range dataset.Sample() {
		for _, m := range row.Messages {
			pieces = append(pieces, strings.FieldsFunc(m.Content, func(r rune) bool { return strings.ContainsRune("\n。.!?！？", r) })...)
		}
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(out, 1<<20)
	random := rand.New(rand.NewPCG(42, 1))
	text := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteString(pieces[random.IntN(len(pieces))] + ". ")
		}
		return strings.TrimSpace(b.String())
	}
	for i := range rows {
		line, err := json.Marshal(map[string]string{"instruction": fmt.Sprintf("%d: %s", i, text(1+random.IntN(2))), "input": "", "output": text(1 + random.IntN(8))})
		if err != nil {
			return err
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return errors.Join(w.Flush(), out.Close())
}
