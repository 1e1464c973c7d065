package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

func (a *app) adaptersPromoteCommand() *cobra.Command {
	var alias, weight string
	cmd := a.command(&cobra.Command{
		Use: "promote NAME@VERSION", Short: "Let an alias stand for a version, for all or a part of its users", Args: exactArgs(1),
		Long: `Let an alias stand for a version. With --weight, that part of the alias's users gets the version and the rest stays:
a user (the request's user field) always gets the same one, also when the weight grows. Requests that run finish with
the version that they began with.`,
		Example: "  descant adapters promote my-adapter@4\n  descant adapters promote my-adapter@5 --alias prod --weight 10%",
	}, "bus", func(ctx context.Context, args []string) error {
		req := &pb.PromoteRequest{Ref: args[0], Alias: alias}
		if weight != "" {
			percent, err := strconv.ParseFloat(strings.TrimSuffix(weight, "%"), 64)
			if err != nil {
				return &exitError{code: exitUsage, err: job.UserError(job.CodeBadRequest, fmt.Sprintf("--weight %q is no percentage", weight), "give for example --weight 10%")}
			}
			req.Weight = &percent
		}
		return a.withBus(ctx, func(ctx context.Context, b *bus.Bus) error {
			return a.moveAlias(ctx, b, "adapters.promote", req, alias)
		})
	})
	cmd.Flags().StringVar(&alias, "alias", registry.Prod, "alias to move")
	cmd.Flags().StringVar(&weight, "weight", "", "percent of the users that get the version (default: all)")
	return cmd
}

func (a *app) adaptersRollbackCommand() *cobra.Command {
	var alias string
	cmd := a.command(&cobra.Command{
		Use: "rollback NAME", Short: "End the split of an alias, or undo its last move", Args: exactArgs(1),
		Example: "  descant adapters rollback my-adapter\n  descant adapters rollback my-adapter --alias staging",
	}, "bus", func(ctx context.Context, args []string) error {
		req := &pb.RollbackRequest{Name: args[0], Alias: alias}
		return a.withBus(ctx, func(ctx context.Context, b *bus.Bus) error {
			return a.moveAlias(ctx, b, "adapters.rollback", req, alias)
		})
	})
	cmd.Flags().StringVar(&alias, "alias", registry.Prod, "alias to move back")
	return cmd
}

// adaptersPinCommand makes the command that pins, or the one that unpins.
func (a *app) adaptersPinCommand(action, short, long, done string) *cobra.Command {
	return a.command(&cobra.Command{
		Use: action + " REF", Short: short, Long: long, Args: exactArgs(1),
		Example: fmt.Sprintf("  descant adapters %s my-adapter@prod\n  descant adapters %s my-adapter@3 --json | jq .pins", action, action),
	}, "bus", func(ctx context.Context, args []string) error {
		return a.withBus(ctx, func(ctx context.Context, b *bus.Bus) error {
			var entry pb.AdapterEntry
			if err := b.Call(ctx, "adapters."+action, &pb.PinRequest{Ref: args[0]}, &entry); err != nil {
				return gatewayError(err)
			}
			text, err := raw(&entry)
			if err != nil {
				return err
			}
			return a.print(text, func() { fmt.Fprintf(a.out, "%s is %s\n", args[0], done) })
		})
	})
}

// moveAlias asks the gateway and shows what the alias stands for now.
func (a *app) moveAlias(ctx context.Context, b *bus.Bus, subject string, req proto.Message, alias string) error {
	var entry pb.AdapterEntry
	if err := b.Call(ctx, subject, req, &entry); err != nil {
		return gatewayError(err)
	}
	text, err := raw(&entry)
	if err != nil {
		return err
	}
	return a.print(text, func() { fmt.Fprintf(a.out, "%s@%s\n", entry.GetName(), aliasText(&entry, alias)) })
}

// aliasText writes an alias and what it stands for: prod=4, or prod=4 (10% 5) while it is split.
func aliasText(entry *pb.AdapterEntry, alias string) string {
	text := fmt.Sprintf("%s=%d", alias, entry.GetAliases()[alias])
	if split := entry.GetCanaries()[alias]; split != nil {
		text += fmt.Sprintf(" (%g%% %d)", float64(split.GetShare())/100, split.GetVersion())
	}
	return text
}

// aliasTexts writes all aliases of an adapter.
func aliasTexts(entry *pb.AdapterEntry) []string {
	var list []string
	for _, alias := range slices.Sorted(maps.Keys(entry.GetAliases())) {
		list = append(list, aliasText(entry, alias))
	}
	return list
}
