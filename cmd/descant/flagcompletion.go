package main

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"descant/pkg/bus"
	"descant/pkg/dataset"
	"descant/pkg/device"
	"descant/pkg/gguf"
	"descant/pkg/hub"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// flagCompleters complete the values of flags, by their names. Where a file or a folder can stand as well, the shell offers those.
func (a *app) flagCompleters() map[string]cobra.CompletionFunc {
	words := func(list ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)
	}
	folders := cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs)
	var states []string
	for _, state := range job.States() {
		states = append(states, string(state))
	}
	dtypes := words(job.DTypeAuto, job.DTypeF32, job.DTypeBF16)
	models := a.completeValue(a.knownModels, cobra.ShellCompDirectiveDefault)
	datasets := a.completeValue(a.running(pushedNames), cobra.ShellCompDirectiveDefault)
	adapters := a.completeValue(a.running(adapterNames), cobra.ShellCompDirectiveDefault)
	return map[string]cobra.CompletionFunc{
		"model": models, "inference-model": models, "dataset": datasets, "eval-dataset": datasets, "adapter": adapters, "init-from": adapters,
		"adapter-dir": folders, "output-dir": folders, "alias": a.completeValue(a.running(aliasNames), cobra.ShellCompDirectiveNoFileComp),
		"state": words(states...), "device": words(device.Kinds()...), "outtype": words(gguf.OutTypes()...),
		"dtype": dtypes, "inference-dtype": dtypes, "inference-lora-dtype": dtypes, "method": words(job.MethodLora, job.MethodFull),
		"loss-on": words(job.LossOnFull, job.LossOnCompletion, job.LossOnLastTurn), "report-to": words(job.ReportToNone, job.ReportToTensorBoard),
		"truncation-mode":   words(job.KeepStart, job.KeepEnd, job.Drop, job.Refuse),
		"lr-scheduler-type": words(job.Schedulers()...),
	}
}

// completeFlags has every flag of a command and of those below it complete its values.
func (a *app) completeFlags(cmd *cobra.Command) error {
	completers := a.flagCompleters()
	var failed error
	visit := func(f *pflag.Flag) {
		if complete, ok := completers[f.Name]; ok && failed == nil {
			failed = cmd.RegisterFlagCompletionFunc(f.Name, complete)
		}
	}
	cmd.LocalNonPersistentFlags().VisitAll(visit)
	if !cmd.HasParent() {
		cmd.PersistentFlags().VisitAll(visit)
	}
	for _, child := range cmd.Commands() {
		if failed == nil {
			failed = a.completeFlags(child)
		}
	}
	return failed
}

// completeValue completes the value of a flag with names.
func (a *app) completeValue(list func(context.Context) []cobra.Completion, directive cobra.ShellCompDirective) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return a.fitting(cmd, begun, list), directive
	}
}

// running lists what a running system knows.
func (a *app) running(list func(context.Context, *bus.Bus) ([]cobra.Completion, error)) func(context.Context) []cobra.Completion {
	return func(ctx context.Context) []cobra.Completion { return a.known(ctx, list) }
}

// knownModels lists the bases that are in the binary, in the cache of this machine, and in a running system.
func (a *app) knownModels(ctx context.Context) []cobra.Completion {
	names := map[string]bool{}
	if opts, err := hubOptions(a.cfg, nil); err == nil {
		for name := range opts.Builtin {
			names["builtin:"+name] = true
		}
	}
	if cached, err := hub.Cached(a.cfg.Hub); err == nil {
		for _, model := range cached {
			names[model.Name] = true
		}
	}
	for _, name := range a.known(ctx, baseNames) {
		names[name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

func baseNames(ctx context.Context, b *bus.Bus) (names []cobra.Completion, err error) {
	var reply pb.ListModelsResponse
	if err := b.Call(ctx, "models.list", &pb.ListModelsRequest{}, &reply); err != nil {
		return nil, err
	}
	for _, model := range reply.GetModels() {
		if model.GetParent() == "" {
			names = append(names, model.GetId())
		}
	}
	return names, nil
}

func pushedNames(ctx context.Context, b *bus.Bus) (names []cobra.Completion, err error) {
	var reply pb.ListDatasetsResponse
	if err := b.Call(ctx, "datasets.list", &pb.ListDatasetsRequest{}, &reply); err != nil {
		return nil, err
	}
	for _, set := range reply.GetDatasets() {
		names = append(names, cobra.CompletionWithDesc(set.GetName(), set.GetFile()))
	}
	return append(names, dataset.SampleName), nil
}

func aliasNames(ctx context.Context, b *bus.Bus) (names []cobra.Completion, err error) {
	var reply pb.ListAdaptersResponse
	if err := b.Call(ctx, "adapters.list", &pb.ListAdaptersRequest{}, &reply); err != nil {
		return nil, err
	}
	there := map[string]bool{registry.Prod: true}
	for _, entry := range reply.GetAdapters() {
		for alias := range entry.GetAliases() {
			there[alias] = alias != registry.Latest
		}
	}
	for _, alias := range slices.Sorted(maps.Keys(there)) {
		if there[alias] {
			names = append(names, alias)
		}
	}
	return names, nil
}

// fitting lists the names that go on from what was begun, with the configuration that the command line and its surroundings give.
func (a *app) fitting(cmd *cobra.Command, begun string, list func(context.Context) []cobra.Completion) (fitting []cobra.Completion) {
	if err := a.loader.Load(firstOf(a.file, lookup(a.environ, "DESCANT_CONFIG")), a.environ); err != nil {
		return nil
	}
	for _, name := range list(cmd.Context()) {
		if strings.HasPrefix(name, begun) {
			fitting = append(fitting, name)
		}
	}
	return fitting
}
