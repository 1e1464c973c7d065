package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"descant/pkg/hub"
	"descant/pkg/lifecycle"
)

func (a *app) modelsCommand() *cobra.Command {
	var store bool
	pull := a.command(&cobra.Command{
		Use: "pull MODEL", Short: "Bring a base model onto this machine", Args: exactArgs(1),
		Long: `Bring a base model onto this machine, into the cache that Python's huggingface_hub uses too. With --store
it is also put into the object store, where workers without a way to the hub find it by its digest.`,
		Example: `  descant models pull Qwen/Qwen2.5-0.5B-Instruct
  HF_ENDPOINT=https://my-mirror descant models pull Qwen/Qwen2.5-0.5B-Instruct@main --store`,
	}, "hub blob bus", func(ctx context.Context, args []string) error {
		ctx, _, release := lifecycle.Signals(ctx)
		defer release()
		name, snapshot, err := a.base(ctx, args[0])
		if errors.Is(err, lifecycle.ErrStopping) || errors.Is(err, context.Canceled) {
			return interrupted("stopped; the same command goes on where this one ended")
		}
		if err != nil {
			return err
		}
		if store {
			err := a.withSystem(ctx, func(ctx context.Context, s *system) error { return hub.Push(ctx, s.hub.Store, snapshot) })
			if err != nil {
				return err
			}
		}
		var size int64
		for _, f := range snapshot.Files {
			size += f.Size
		}
		value := map[string]any{"name": name, "revision": snapshot.Revision, "digest": snapshot.Digest, "dir": snapshot.Dir, "size": size, "files": snapshot.Files}
		return a.print(value, func() { fmt.Fprintf(a.out, "%s  %s  %s\n%s\n", name, bytesText(size), snapshot.Digest, snapshot.Dir) })
	})
	pull.Flags().BoolVar(&store, "store", false, "put it into the object store as well")

	list := a.command(&cobra.Command{
		Use: "list", Short: "List models of the cache, and with --store of the object store",
		Example: "  descant models list\n  descant models list --store --json",
	}, "hub blob bus", func(ctx context.Context, _ []string) error { return a.listModels(ctx, store) })
	list.Flags().BoolVar(&store, "store", false, "list the object store as well")
	return group("models", "Pull and list base models", "  descant models pull Qwen/Qwen2.5-0.5B-Instruct\n  descant models list", pull, list)
}

func (a *app) listModels(ctx context.Context, store bool) error {
	type model struct {
		Name     string `json:"name"`
		Revision string `json:"revision,omitempty"`
		Size     int64  `json:"size"`
		Place    string `json:"place"` // cache, builtin or store
		Digest   string `json:"digest,omitempty"`
	}
	opts, err := hubOptions(a.cfg, nil)
	if err != nil {
		return err
	}
	list := []model{}
	for name := range opts.Builtin {
		list = append(list, model{Name: "builtin:" + name, Place: "builtin"})
	}
	cached, err := hub.Cached(a.cfg.Hub)
	if err != nil {
		return err
	}
	for _, c := range cached {
		list = append(list, model{Name: c.Name, Revision: c.Commit, Size: c.Size, Place: "cache"})
	}
	if store {
		err := a.withSystem(ctx, func(ctx context.Context, s *system) error {
			manifests, err := hub.List(ctx, s.hub.Store)
			for _, m := range manifests {
				var size int64
				for _, f := range m.Files {
					size += f.Size
				}
				list = append(list, model{Name: m.Name, Revision: m.Revision, Size: size, Place: "store", Digest: m.Digest})
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return a.print(list, func() {
		var rows [][]string
		for _, m := range list {
			size := "-"
			if m.Size > 0 {
				size = bytesText(m.Size)
			}
			rows = append(rows, []string{m.Name, m.Place, size, firstOf(m.Digest, m.Revision, "-")})
		}
		a.table([]string{"NAME", "PLACE", "SIZE", "REVISION"}, rows)
	})
}
