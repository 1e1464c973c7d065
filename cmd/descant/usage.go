package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// printUsage shows a command's use, its examples, its flags, and of the configuration only the sections
// that matter to it: all its flags are accepted everywhere, but a wall of them helps nobody.
func (a *app) printUsage(cmd *cobra.Command) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage:\n  %s\n", cmd.UseLine())
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-12s %s\n", c.Name(), c.Short)
			}
		}
	}
	if own := cmd.LocalNonPersistentFlags(); own.HasAvailableFlags() {
		fmt.Fprintf(&b, "\nFlags:\n%s", own.FlagUsages())
	}
	if config := a.configFlags(cmd); config.HasAvailableFlags() {
		fmt.Fprintf(&b, "\nConfiguration (also by --config and DESCANT_*; `descant config` shows all of it):\n%s", config.FlagUsages())
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), b.String())
	return err
}

// configFlags selects the global flags of a command's sections.
func (a *app) configFlags(cmd *cobra.Command) *pflag.FlagSet {
	set := pflag.NewFlagSet("config", pflag.ContinueOnError)
	set.SortFlags = false
	wanted := map[string]bool{}
	for _, section := range strings.Fields(cmd.Annotations["sections"]) {
		wanted[section] = true
	}
	root := cmd.Root().PersistentFlags()
	add := func(name string) {
		if f := root.Lookup(name); f != nil && set.Lookup(name) == nil {
			set.AddFlag(f)
		}
	}
	for _, f := range a.loader.Fields() {
		if wanted[f.Path[0]] && f.Flag() != "" {
			add(f.Flag())
			add(f.Flag() + "-file")
		}
	}
	add("config")
	add("json")
	return set
}
