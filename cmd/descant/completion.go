package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"descant/pkg/bus"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// completionPatience is how long a press of the tab key waits for a system that does not answer.
const completionPatience = 2 * time.Second

// completionCommand writes scripts that teach a shell our commands, flags and names.
func (a *app) completionCommand() *cobra.Command {
	shells := []struct {
		name, example string
		write         func(root *cobra.Command, out io.Writer) error
	}{
		{"bash", "  source <(descant completion bash)\n  descant completion bash > ~/.local/share/bash-completion/completions/descant",
			func(root *cobra.Command, out io.Writer) error { return root.GenBashCompletionV2(out, true) }},
		{"zsh", "  source <(descant completion zsh)\n  descant completion zsh > \"${fpath[1]}/_descant\"",
			func(root *cobra.Command, out io.Writer) error { return root.GenZshCompletion(out) }},
		{"fish", "  descant completion fish | source\n  descant completion fish > ~/.config/fish/completions/descant.fish",
			func(root *cobra.Command, out io.Writer) error { return root.GenFishCompletion(out, true) }},
		{"powershell", "  descant completion powershell | Out-String | Invoke-Expression",
			func(root *cobra.Command, out io.Writer) error { return root.GenPowerShellCompletionWithDesc(out) }},
	}
	all := group("completion", "Write a script for the completion of a shell",
		"  source <(descant completion bash)\n  descant completion fish | source")
	for _, shell := range shells {
		all.AddCommand(&cobra.Command{
			Use: shell.name, Short: "Write the script for " + shell.name, Args: exactArgs(0), Example: shell.example,
			Long: fmt.Sprintf(`Write the script that has %s complete commands, flags and their values, and beside a running system the ids of
jobs and the names of adapters, datasets and bases.`, shell.name),
			RunE: func(cmd *cobra.Command, _ []string) error { return shell.write(cmd.Root(), a.out) },
		})
	}
	return all
}

// completer is what completes the argument of a command, by the name that its use line gives the argument. Where a
// file can stand, the shell offers files.
func (a *app) completer(use string) cobra.CompletionFunc {
	_, argument, _ := strings.Cut(use, " ")
	switch strings.Trim(argument, "[]") {
	case "":
		return cobra.NoFileCompletions
	case "ID":
		return a.completeFrom(jobIDs, cobra.ShellCompDirectiveNoFileComp)
	case "REF", "NAME", "NAME@VERSION":
		return a.completeFrom(adapterNames, cobra.ShellCompDirectiveNoFileComp)
	case "ADAPTER":
		return a.completeFrom(adapterNames, cobra.ShellCompDirectiveDefault)
	}
	return nil
}

// completeFrom asks a running system for names. Where none answers nothing is offered, and nothing is said: the
// person is about to type.
func (a *app) completeFrom(list func(context.Context, *bus.Bus) ([]cobra.Completion, error), directive cobra.ShellCompDirective) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.fitting(cmd, begun, a.running(list)), directive
	}
}

// known asks a running system for names; it returns none where no system answers within completionPatience.
func (a *app) known(ctx context.Context, list func(context.Context, *bus.Bus) ([]cobra.Completion, error)) []cobra.Completion {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), completionPatience)
	defer cancel()
	cfg := a.clientBus()
	cfg.Timeout = min(cfg.Timeout, completionPatience)
	b, err := bus.Connect(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil
	}
	defer func() { _ = b.Close() }() // the names are known already
	names, err := list(ctx, b)
	if err != nil {
		return nil
	}
	return names
}

func jobIDs(ctx context.Context, b *bus.Bus) (ids []cobra.Completion, err error) {
	var reply pb.ListJobsResponse
	if err := b.Call(ctx, "finetune.jobs.list", &pb.ListJobsRequest{}, &reply); err != nil {
		return nil, err
	}
	for _, j := range reply.GetJobs() {
		ids = append(ids, cobra.CompletionWithDesc(j.GetId(), strings.TrimSpace(j.GetState()+" "+j.GetName())))
	}
	return ids, nil
}

func adapterNames(ctx context.Context, b *bus.Bus) (names []cobra.Completion, err error) {
	var reply pb.ListAdaptersResponse
	if err := b.Call(ctx, "adapters.list", &pb.ListAdaptersRequest{}, &reply); err != nil {
		return nil, err
	}
	for _, e := range reply.GetAdapters() {
		if _, err := registry.Find(e, e.GetName()); err != nil {
			continue // all of its versions were deleted
		}
		for _, v := range e.GetVersions() {
			if v.GetDeletedAt() != nil {
				continue
			}
			names = append(names, cobra.CompletionWithDesc(fmt.Sprintf("%s@%d", e.GetName(), v.GetVersion()), v.GetBase()))
		}
		names = append(names, cobra.CompletionWithDesc(e.GetName(), "newest version"))
	}
	return names, nil
}
