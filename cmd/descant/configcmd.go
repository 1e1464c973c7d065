package main

import (
	"bytes"
	"context"

	"github.com/spf13/cobra"
)

func (a *app) configCommand() *cobra.Command {
	return a.command(&cobra.Command{
		Use: "config", Short: "Print the effective configuration, secrets hidden",
		Long: `Print the effective configuration as YAML that --config reads back: defaults, then the file, then the
environment (DESCANT_*), then flags. A comment says where each value came from; secrets are hidden.`,
		Example: `  descant config > descant.yaml
  descant config --config descant.yaml --json`,
	}, "", func(context.Context, []string) error {
		var text bytes.Buffer
		if err := a.loader.Print(&text); err != nil {
			return err
		}
		type entry struct {
			Value  string `json:"value"`
			Source string `json:"source"`
			Env    string `json:"env"`
			Help   string `json:"help"`
		}
		values := map[string]entry{}
		for _, f := range a.loader.Fields() {
			values[f.Key()] = entry{f.Text(), f.Source, f.Env(), f.Help}
		}
		return a.print(values, func() { _, _ = a.out.Write(text.Bytes()) })
	})
}
