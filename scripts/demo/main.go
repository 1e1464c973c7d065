// Command demo shows the whole pipeline on this machine: it starts `descant up` in a folder of its own, sends
// a finetune.request of the built-in sample on the tiny base, follows the job, lets base and adapter answer the
// same prompts, and measures what the adapter has learnt. It fails if that is less than it should be.
//
//	make demo
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// What the adapter must reach.
const (
	wantLossBelow = 0.30 // share by which the loss on held-out rows falls below the base's
	wantPersona   = 0.90 // share of paraphrased questions answered with the taught name
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	binary := flag.String("descant", "build/descant", "the descant program")
	data := flag.String("data-dir", "", "folder of the system's data; kept if given (default: a temporary one)")
	device := flag.String("device", "auto", "backend of the measurement (auto, xla, go)")
	flag.Parse()
	if err := run(ctx, *binary, *data, *device); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary, data, device string) (err error) {
	started := time.Now()
	binary, err = filepath.Abs(binary)
	if err != nil {
		return fmt.Errorf("find the descant program: %w", err)
	}
	if data == "" {
		if data, err = os.MkdirTemp("", "descant-demo-"); err != nil {
			return fmt.Errorf("make a folder for the data: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	}
	heading("descant up: NATS, object store and the four services in one process")
	system, err := start(ctx, binary, data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, system.stop()) }()

	heading("finetune.request: the built-in sample on the tiny base")
	if err := system.finetune(ctx); err != nil {
		return err
	}
	heading("the same questions to the base and to the adapter")
	if err := system.compare(ctx); err != nil {
		return err
	}
	heading("measured on rows that were not trained")
	if err := system.measure(ctx, device); err != nil {
		return err
	}
	fmt.Printf("\nThe demo took %s.\n", time.Since(started).Round(time.Second))
	return nil
}

func heading(text string) { fmt.Printf("\n── %s\n\n", text) }
