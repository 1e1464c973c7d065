package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"descant/pkg/lifecycle"
)

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// app is what all commands share.
type app struct {
	streams
	environ []string
	cfg     Config
	loader  *lifecycle.Loader
	file    string // configuration file
	json    bool   // results as JSON
}

// run executes one command line and returns the exit code of the process.
func run(args []string, io streams, environ []string) int {
	a := &app{streams: io, environ: environ}
	root, err := a.rootCommand()
	if err != nil {
		return a.fail(err)
	}
	root.SetArgs(args)
	root.SetIn(io.in)
	root.SetOut(io.out)
	root.SetErr(io.err)
	return a.fail(root.ExecuteContext(context.Background()))
}

// group is a command that only holds others.
func group(use, short, example string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Example: example, Args: cobra.ArbitraryArgs}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		text := fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0])
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			text += "; did you mean " + strings.Join(near, " or ") + "?"
		}
		return usage(cmd, errors.New(text))
	}
	c.SuggestionsMinimumDistance = 2
	c.AddCommand(commands...)
	return c
}

// rootCommand builds the tree of commands.
func (a *app) rootCommand() (*cobra.Command, error) {
	a.cfg = defaults()
	var err error
	if a.loader, err = lifecycle.NewLoader(&a.cfg); err != nil {
		return nil, err
	}
	root := group("descant", "Fine-tune an open chat model with a LoRA adapter and talk to it",
		`  descant train --model Qwen/Qwen2.5-0.5B-Instruct --max-steps 50 --output-dir out/
  descant chat --adapter-dir out/ --prompt "你好"
  descant up`,
		a.trainCommand(), a.estimateCommand(), a.evalCommand(), a.chatCommand(), a.upCommand(), a.finetuneCommand(), a.mergeCommand(), a.exportCommand(), a.verifyCommand(),
		a.jobsCommand(), a.adaptersCommand(), a.datasetsCommand(), a.modelsCommand(),
		a.validateCommand(), a.previewCommand(),
		a.doctorCommand(), a.configCommand(), a.healthCommand(), a.topCommand(), a.versionCommand(), a.completionCommand())
	root.Long = root.Short + ".\n\n" + exitCodes
	for _, kind := range serviceKinds() {
		root.AddCommand(a.serviceCommand(kind))
	}
	root.SilenceErrors, root.SilenceUsage = true, true
	flags := root.PersistentFlags()
	flags.StringVar(&a.file, "config", "", "YAML file with the configuration (default: $DESCANT_CONFIG)")
	flags.BoolVar(&a.json, "json", false, "results as JSON")
	a.loader.BindFlags(flags)
	root.SetGlobalNormalizationFunc(spelling)
	root.SetFlagErrorFunc(usage)
	root.SetUsageFunc(a.printUsage)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		fmt.Fprintf(cmd.OutOrStdout(), "%s\n\n", strings.TrimSpace(firstOf(cmd.Long, cmd.Short)))
		if err := a.printUsage(cmd); err != nil {
			fmt.Fprintln(a.err, "descant:", err)
		}
	})
	return root, a.completeFlags(root)
}

// spelling accepts the flags of the tutorial beside ours: underscores, and two other names.
func spelling(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	name = strings.ReplaceAll(name, "_", "-")
	switch name {
	case "model-name-or-path", "base-model":
		name = "model"
	case "dataset-path":
		name = "dataset"
	}
	return pflag.NormalizedName(name)
}

// command fills in what all commands have in common; sections names the parts of the configuration that
// matter to it and that its help lists.
func (a *app) command(c *cobra.Command, sections string, do func(ctx context.Context, args []string) error) *cobra.Command {
	c.Annotations = map[string]string{"sections": sections}
	if check := c.Args; check == nil {
		c.Args = exactArgs(0)
	}
	c.ValidArgsFunction = a.completer(c.Use)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		file := firstOf(a.file, lookup(a.environ, "DESCANT_CONFIG"))
		if err := a.loader.Load(file, a.environ); err != nil {
			return usage(cmd, err)
		}
		if err := a.cfg.settle(); err != nil {
			return err
		}
		return do(cmd.Context(), args)
	}
	return c
}

// exactArgs wants n arguments, named in the usage line.
func exactArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == n:
			return nil
		case n == 0:
			return usage(cmd, fmt.Errorf("%s takes no argument, got %q", cmd.CommandPath(), args[0]))
		}
		return usage(cmd, fmt.Errorf("%d arguments are given, the command is: %s", len(args), cmd.UseLine()))
	}
}

// atMostArgs wants n arguments or fewer, named in the usage line.
func atMostArgs(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= n {
			return nil
		}
		return usage(cmd, fmt.Errorf("%d arguments are given, the command is: %s", len(args), cmd.UseLine()))
	}
}

// logger writes to stderr. Commands for people want to hear of problems only, services of everything,
// unless the configuration says otherwise.
func (a *app) logger(quiet bool) (*slog.Logger, error) {
	cfg := a.cfg.Log
	for _, f := range a.loader.Fields() {
		if f.Key() == "log.level" && f.Source == "default" && quiet {
			cfg.Level = "error"
		}
	}
	return lifecycle.NewLogger(a.err, cfg)
}

// terminal tells whether a stream is a terminal.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colourful tells whether a stream may get colours: only a terminal that can show them, and none with NO_COLOR
// (https://no-color.org).
func (a *app) colourful(stream any) bool {
	return terminal(stream) && wantsColour(a.environ)
}

func wantsColour(environ []string) bool {
	return lookup(environ, "NO_COLOR") == "" && lookup(environ, "TERM") != "dumb"
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func lookup(environ []string, name string) string {
	for _, variable := range environ {
		if key, value, _ := strings.Cut(variable, "="); key == name {
			return value
		}
	}
	return ""
}
