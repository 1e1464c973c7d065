// Command tinybase makes the tiny base model from nothing: the text of its little world, its tokenizer, its
// first weights, the training by descant's own full-parameter mode, the examination and the model card.
//
//	go run ./scripts/tinybase all --out models/tiny
//
// The steps can be run one by one; see --help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// The seeds of the recipe. The examination draws from another seed than the training text.
const (
	trainSeed   = 20
	heldOutSeed = 21
	initSeed    = 22
)

const usage = `tinybase makes the tiny base model from nothing.

  tinybase world      [--rows N] [--held-out]   print rows of the little world as JSON lines
  tinybase tokenizer  [--out DIR]               learn the tokenizer and write its files
  tinybase init       [--out DIR]               write config.json and seeded first weights
  tinybase train      [--out DIR] [--phase N]   train with descant's full-parameter mode
  tinybase eval       [--out DIR] [--each N]    ask the held-out questions, print the scores
  tinybase card       [--out DIR] [--each N]    ask them and write the model card
  tinybase all        [--out DIR] [--work DIR]  all of it, and the model card

Flags:`

// options are the flags of all commands.
type options struct {
	out, work string
	rows      int
	each      int
	heldOut   bool
	phase     int
	mistakes  int
	device    string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tinybase:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet("tinybase", flag.ContinueOnError)
	flags.StringVar(&o.out, "out", "models/tiny", "folder of the model")
	flags.StringVar(&o.work, "work", "", "folder for shards and checkpoints (default: a temporary one)")
	flags.IntVar(&o.rows, "rows", 20, "world: number of rows to print")
	flags.BoolVar(&o.heldOut, "held-out", false, "world: print the held-out questions instead")
	flags.IntVar(&o.each, "each", 50, "eval: held-out questions for each category and language")
	flags.IntVar(&o.mistakes, "mistakes", 10, "eval: wrong answers to print")
	flags.IntVar(&o.phase, "phase", 0, "train: only this phase, from the weights that are there (default: all)")
	flags.StringVar(&o.device, "device", "auto", "train, eval: backend (auto, xla, go)")
	flags.Usage = func() {
		fmt.Fprintln(os.Stderr, usage)
		flags.PrintDefaults()
	}
	commands := map[string]func(context.Context, options) error{
		"world": printWorld, "tokenizer": makeTokenizer, "init": initialise, "train": trainBase, "eval": evaluate, "card": writeCard, "all": all,
	}
	if len(args) == 0 || commands[args[0]] == nil {
		flags.Usage()
		if len(args) > 0 && (args[0] == "--help" || args[0] == "-h" || args[0] == "help") {
			return nil
		}
		return errors.New("name one of the commands above")
	}
	if err := flags.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	return commands[args[0]](ctx, o)
}
