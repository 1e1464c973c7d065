package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/hub"
	"descant/pkg/job"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/pb"
	"descant/pkg/registry"
	"descant/pkg/tokenizer"
)

// pushOptions are the flags of `descant adapters push`.
type pushOptions struct{ dir, name, model, license string }

func (a *app) adaptersPushCommand() *cobra.Command {
	var o pushOptions
	cmd := a.command(&cobra.Command{
		Use: "push DIR", Short: "Publish an adapter's folder: ours, or one that PEFT saved", Args: exactArgs(1),
		Long: `Publish an adapter's folder as the next version of a name; workers serve it like any other. The folder is
what PEFT saves: adapter_config.json and adapter_model.safetensors. It is checked against its base first, and
what cannot be served (DoRA, modules_to_save, tensors of other shapes, …) is refused with the whole list.`,
		Example: `  descant adapters push out/ --name support
  descant adapters push peft-adapter/ --name support --model Qwen/Qwen2.5-0.5B-Instruct --license apache-2.0`,
	}, "hub bus blob embedded", func(ctx context.Context, args []string) error {
		o.dir = args[0]
		return a.withSystem(ctx, func(ctx context.Context, s *system) error { return a.pushAdapter(ctx, s, o) })
	})
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "name of the adapter (required)")
	f.StringVar(&o.model, "model", "", "base model (default: the one that the adapter names)")
	f.StringVar(&o.license, "license", "", "licence in the model card, where the folder has none")
	return cmd
}

func (a *app) pushAdapter(ctx context.Context, s *system, o pushOptions) error {
	if p := job.NameProblem("name", o.name); p != nil {
		return &exitError{code: exitUsage, err: job.UserError(job.CodeBadRequest, "the adapter cannot be pushed", "", *p)}
	}
	dir, named, err := adapterFolder(o.dir)
	if err != nil {
		return err
	}
	from, err := folderManifest(dir)
	if err != nil {
		return err
	}
	ref, base, err := a.pushBase(ctx, s, firstOf(o.model, from.GetBase(), named))
	if err != nil {
		return err
	}
	if err := (&adapterSource{name: o.dir, manifest: from, baseName: ref, base: base}).checkBase(); err != nil {
		return err
	}
	adapter, err := inspectAdapter(o.dir, dir, base.Dir)
	if err != nil {
		return err
	}
	manifest, err := pushedManifest(dir, o.name, ref, base, from)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "descant-push-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // a private folder in the system's own temporary one
	if err := stagePush(dir, work, adapterCard(o, ref, adapter)); err != nil {
		return err
	}
	found, err := s.registry.Publish(ctx, work, manifest)
	if err != nil {
		return err
	}
	value := map[string]any{"adapter": found.Pinned(), "digest": found.Version.GetDigest(), "base": ref, "base_digest": base.Digest,
		"parameters": adapter.Parameters(), "size": found.Version.GetSize()}
	return a.print(value, func() {
		fmt.Fprintf(a.out, "%s  %s  %s\n", found.Pinned(), bytesText(found.Version.GetSize()), found.Version.GetDigest())
	})
}

// pushBase finds the base as a worker will: by the name that goes into the manifest.
func (a *app) pushBase(ctx context.Context, s *system, ref string) (string, *hub.Snapshot, error) {
	if ref == "" {
		return "", nil, errors.New("the adapter does not name its base: give it with --model")
	}
	path, err := localFile(ref)
	if err != nil {
		return "", nil, err
	}
	opts := s.hub
	opts.LocalDirs = []string{"/"} // workers still open only what their operator allowed
	ref = firstOf(path, ref)
	base, err := a.fetchModel(ctx, ref, opts)
	return ref, base, err
}

// inspectAdapter refuses an adapter that could not be served, with everything that is wrong.
func inspectAdapter(name, dir, base string) (*lora.Adapter, error) {
	cfg, err := model.ReadConfig(base)
	if err != nil {
		return nil, err
	}
	adapter, problems := lora.Inspect(cfg, dir)
	if len(problems) == 0 {
		return adapter, nil
	}
	var list []job.Problem
	for _, p := range problems {
		list = append(list, job.Problem{Reason: p})
	}
	return nil, job.UserError(job.CodeBadRequest, fmt.Sprintf("adapter %s cannot be used with this base", name),
		"save a plain LoRA adapter of linear layers for this base; other kinds can be merged into the base by PEFT and used as a model", list...)
}

// pushedManifest is the lineage of a pushed adapter: that of the folder, where it came from a registry, under the
// new name. The same folder pushed again is the same version.
func pushedManifest(dir, name, ref string, base *hub.Snapshot, from *pb.AdapterManifest) (*pb.AdapterManifest, error) {
	if from != nil {
		for _, file := range from.GetFiles() {
			if ours := file.GetName() == lora.ConfigFile || file.GetName() == lora.WeightsFile; !ours {
				continue
			}
			if digest, _, err := blob.DigestFile(filepath.Join(dir, file.GetName())); err != nil || digest != file.GetDigest() {
				return nil, errors.Join(err, fmt.Errorf("%s is not the file of the manifest beside it: remove manifest.json to publish the folder as one that was made elsewhere", file.GetName()))
			}
		}
		manifest := bus.Clone(from)
		manifest.Name, manifest.Base = name, ref
		return manifest, nil
	}
	t, err := tokenizer.Load(base.Dir)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	stat, err := os.Stat(filepath.Join(dir, lora.WeightsFile))
	if err != nil {
		return nil, err
	}
	return &pb.AdapterManifest{Name: name, Base: ref, BaseDigest: base.Digest, TokenizerDigest: t.Digest(), TemplateDigest: t.TemplateDigest(),
		CreatedAt: bus.Timestamp(stat.ModTime()), Trainer: "imported"}, nil
}

// stagePush copies the files that an adapter consists of; card is its model card unless it has one.
func stagePush(dir, work, card string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") || e.Name() == "manifest.json" {
			continue
		}
		// Other weights and tokenizers beside an adapter belong to whatever saved them, not to it.
		keep := e.Name() == lora.ConfigFile || e.Name() == lora.WeightsFile
		for _, name := range []string{"README.md", "LICENSE", "NOTICE", "report.html", "report.png"} {
			keep = keep || e.Name() == name
		}
		if !keep {
			continue
		}
		if err := copyFile(filepath.Join(dir, e.Name()), filepath.Join(work, e.Name())); err != nil {
			return err
		}
	}
	path := filepath.Join(work, "README.md")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return os.WriteFile(path, []byte(card), 0o644)
}

// adapterCard is a model card as the Hugging Face hub reads it.
func adapterCard(o pushOptions, base string, adapter *lora.Adapter) string {
	var b strings.Builder
	fmt.Fprintf(&b, "---\nbase_model: %s\nlibrary_name: peft\npipeline_tag: text-generation\n", base)
	if o.license != "" {
		fmt.Fprintf(&b, "license: %s\n", o.license)
	}
	fmt.Fprintf(&b, "tags:\n- lora\n- descant\n---\n\n# %s\n\nA LoRA adapter for %s with %d parameters, made elsewhere and imported.\n", o.name, base, adapter.Parameters())
	return b.String()
}

func (a *app) adaptersPullCommand() *cobra.Command {
	var output string
	var force bool
	cmd := a.command(&cobra.Command{
		Use: "pull REF", Short: "Bring a published adapter into a folder, as PEFT reads it", Args: exactArgs(1),
		Example: "  descant adapters pull my-adapter --output-dir my-adapter/\n  descant adapters pull my-adapter@3 --output-dir v3/ --force",
	}, "bus blob embedded", func(ctx context.Context, args []string) error {
		return a.withSystem(ctx, func(ctx context.Context, s *system) error { return a.pullAdapter(ctx, s, args[0], output, force) })
	})
	cmd.Flags().StringVar(&output, "output-dir", "adapter", "folder for the adapter")
	cmd.Flags().BoolVar(&force, "force", false, "replace the output folder if it exists")
	return cmd
}

func (a *app) pullAdapter(ctx context.Context, s *system, ref, output string, force bool) error {
	out, err := newOutputDir(output, force)
	if err != nil {
		return err
	}
	defer out.discard()
	found, err := s.registry.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	if err := fetchInto(ctx, s, found, out.temporary); err != nil {
		return err
	}
	if err := out.commit(); err != nil {
		return err
	}
	value := map[string]any{"adapter": found.Pinned(), "digest": found.Version.GetDigest(), "base": found.Version.GetBase(), "output_dir": out.path}
	return a.print(value, func() { fmt.Fprintf(a.out, "%s  %s\n", found.Pinned(), out.path) })
}

// fetchInto brings the verified files of a version into a folder.
func fetchInto(ctx context.Context, s *system, found registry.Resolved, dir string) error {
	work := filepath.Join(dir, ".fetch")
	from, err := s.registry.Fetch(ctx, found.Version, work)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(work)
}
