package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"descant/pkg/bus"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

func (a *app) adaptersCommand() *cobra.Command {
	list := a.command(&cobra.Command{
		Use: "list", Short: "List published adapters",
		Example: "  descant adapters list --json",
	}, "bus", func(ctx context.Context, _ []string) error {
		return a.withBus(ctx, a.listAdapters)
	})
	show := a.command(&cobra.Command{
		Use: "show REF", Short: "Show a version of an adapter and where it came from", Args: exactArgs(1),
		Example: "  descant adapters show my-adapter\n  descant adapters show my-adapter@3 --json",
	}, "bus", func(ctx context.Context, args []string) error {
		return a.withBus(ctx, func(ctx context.Context, b *bus.Bus) error { return a.showAdapter(ctx, b, args[0]) })
	})
	return group("adapters", "List, show, push, pull, promote, roll back and pin published adapters", "  descant adapters list\n  descant adapters show my-adapter@prod", list, show,
		a.adaptersPushCommand(), a.adaptersPullCommand(), a.adaptersPromoteCommand(), a.adaptersRollbackCommand(),
		a.adaptersPinCommand("pin", "Have an adapter stay in the slots of all workers", `Have a version of an adapter stay in the slots of all workers however long nobody asks for it, so that it answers at once.
An alias is followed; a name alone is the newest version. Where all slots are taken by pins and requests, the one that
was used the longest ago gives way; those that a worker's own configuration pins (inference.pin) do not.`, "pinned"),
		a.adaptersPinCommand("unpin", "Leave an adapter to its use again", `Leave a version of an adapter to its use again: its slot goes to another one when it has not been used for the longest
time. Name what was pinned: a version and an alias that stands for it are two pins.`, "not pinned"))
}

func (a *app) listAdapters(ctx context.Context, b *bus.Bus) error {
	var reply pb.ListAdaptersResponse
	if err := b.Call(ctx, "adapters.list", &pb.ListAdaptersRequest{}, &reply); err != nil {
		return gatewayError(err)
	}
	all, err := rawList(reply.GetAdapters())
	if err != nil {
		return err
	}
	return a.print(all, func() {
		var rows [][]string
		for _, e := range reply.GetAdapters() {
			found, err := registry.Find(e, e.GetName())
			if err != nil {
				continue // all of its versions were deleted
			}
			last := found.Version
			rows = append(rows, []string{e.GetName(), fmt.Sprint(last.GetVersion()), last.GetBase(), bytesText(last.GetSize()),
				strings.Join(aliasTexts(e), " "), firstOf(strings.Join(e.GetPins(), " "), "-"), ago(last.GetPublishedAt().AsTime())})
		}
		a.table([]string{"NAME", "VERSION", "BASE", "SIZE", "ALIASES", "PINNED", "AGE"}, rows)
	})
}

func (a *app) showAdapter(ctx context.Context, b *bus.Bus, ref string) error {
	var reply pb.GetAdapterResponse
	if err := b.Call(ctx, "adapters.get", &pb.GetAdapterRequest{Ref: ref}, &reply); err != nil {
		return gatewayError(err)
	}
	text, err := raw(&reply)
	if err != nil {
		return err
	}
	return a.print(text, func() {
		m := reply.GetManifest()
		lines := [][2]string{
			{"name", fmt.Sprintf("%s@%d", reply.GetName(), reply.GetVersion().GetVersion())},
			{"digest", reply.GetVersion().GetDigest()},
			{"base", m.GetBase()}, {"base digest", m.GetBaseDigest()},
			{"tokenizer", m.GetTokenizerDigest()}, {"template", m.GetTemplateDigest()},
			{"dataset", m.GetDatasetDigest()}, {"tokenized", m.GetTokenizedDigest()},
			{"job", m.GetJob()}, {"spec", m.GetSpecDigest()}, {"parent", m.GetParent()}, {"loaded from", m.GetLoadedFrom()}, {"checkpoint", m.GetParentCheckpoint()},
			{"device", strings.TrimSpace(m.GetDevice() + " " + m.GetDtype())},
			{"made", ago(m.GetCreatedAt().AsTime()) + " ago by " + m.GetTrainer()},
		}
		for _, name := range slices.Sorted(maps.Keys(m.GetMetrics())) {
			lines = append(lines, [2]string{name, fmt.Sprintf("%.6g", m.GetMetrics()[name])})
		}
		for _, f := range m.GetFiles() {
			lines = append(lines, [2]string{"file", fmt.Sprintf("%s (%s)", f.GetName(), bytesText(f.GetSize()))})
		}
		if spec, err := json.Marshal(m.GetSpec().AsMap()["training"]); err == nil && m.GetSpec() != nil {
			lines = append(lines, [2]string{"training", string(spec)})
		}
		for _, l := range lines {
			if l[1] != "" {
				fmt.Fprintf(a.out, "%-14s %s\n", l[0], l[1])
			}
		}
		for _, w := range reply.GetWorkers() {
			fmt.Fprintf(a.out, "%-14s %s\n", "worker", workerLine(w))
		}
	})
}

// workerLine tells how far an adapter is on one worker.
func workerLine(w *pb.WorkerAdapter) string {
	line := fmt.Sprintf("%s %s for %s", w.GetWorker(), w.GetState().GetState(), ago(w.GetState().GetSince().AsTime()))
	if w.GetState().GetPinned() {
		line += ", pinned"
	}
	if reason := w.GetState().GetReason(); reason != "" {
		line += ": " + reason
	}
	return line
}
