package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/registry"
)

func (a *app) datasetsCommand() *cobra.Command {
	var name string
	var columns job.Columns
	push := a.command(&cobra.Command{
		Use: "push FILE", Short: "Check a file of rows and store it for jobs", Args: exactArgs(1),
		Long: `Check a file of rows (JSON Lines, a JSON array, CSV, Parquet or a plain text that is called .txt; docs/data.md has
the formats) and store it in the object store under its digest. The name stands for it until the next push.`,
		Example: "  descant datasets push rows.jsonl\n  descant datasets push rows.jsonl --name support",
	}, "bus blob embedded", func(ctx context.Context, args []string) error {
		path, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		return a.withSystem(ctx, func(ctx context.Context, s *system) error {
			set, err := pushFile(ctx, s, firstOf(name, datasetName(path)), path, dataset.ReadOptions{Columns: columns})
			if err != nil {
				return err
			}
			return a.print(set, func() {
				fmt.Fprintf(a.out, "%s: %d rows, %s, %s\n", set.Name, set.Rows, bytesText(set.Size), set.Digest)
				fmt.Fprintf(a.err, "use it: descant finetune --dataset %s\n", set.Name)
			})
		})
	})
	push.Flags().Var(columnsFlag{&columns}, "columns", "columns of the file that stand for fields, such as instruction=question,output=answer")
	push.Flags().StringVar(&name, "name", "", "name of the dataset (default: from the file's name)")

	list := a.command(&cobra.Command{
		Use: "list", Short: "List pushed datasets", Example: "  descant datasets list --json",
	}, "bus blob embedded", func(ctx context.Context, _ []string) error {
		return a.withSystem(ctx, func(ctx context.Context, s *system) error {
			sets, err := s.registry.Datasets(ctx)
			if err != nil {
				return err
			}
			if sets == nil {
				sets = []registry.Dataset{}
			}
			return a.print(sets, func() {
				var rows [][]string
				for _, d := range sets {
					rows = append(rows, []string{d.Name, fmt.Sprint(d.Rows), bytesText(d.Size), d.File, ago(d.PushedAt), d.Digest})
				}
				a.table([]string{"NAME", "ROWS", "SIZE", "FILE", "AGE", "DIGEST"}, rows)
			})
		})
	})

	return group("datasets", "Push, list and check datasets", "  descant datasets push rows.jsonl\n  descant datasets list", push, list, a.validateCommand())
}

// withSystem runs a command that needs the bus and the object store.
func (a *app) withSystem(ctx context.Context, do func(context.Context, *system) error) error {
	s, err := a.client(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, s), s.close())
}

// pushFile checks a file and stores it under a name.
func pushFile(ctx context.Context, s *system, name, path string, read dataset.ReadOptions) (registry.Dataset, error) {
	if p := job.NameProblem("name", name); p != nil {
		return registry.Dataset{}, job.UserError(job.CodeBadRequest, "the dataset cannot be pushed", "", *p)
	}
	report, err := checkRows(path, read)
	if err != nil {
		return registry.Dataset{}, err
	}
	return s.registry.PushDataset(ctx, name, path, filepath.Base(path), report.Rows, time.Now())
}

// columnsFlag makes a flag of columns.
type columnsFlag struct{ *job.Columns }

// Set reads pairs separated by commas.
func (c columnsFlag) Set(text string) error { return c.UnmarshalText([]byte(text)) }

// Type names the kind of value in the help.
func (c columnsFlag) Type() string { return "pairs" }
