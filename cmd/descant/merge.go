package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"descant/pkg/chat"
	"descant/pkg/device"
	"descant/pkg/lifecycle"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/safetensors"
	"descant/pkg/tokenizer"
)

// comparedText is what merged and unmerged models are compared on.
const comparedText = "Say in one sentence what a descant is. 用一句话说明什么是高音旋律。"

// mergeOptions are the flags of `descant merge`.
type mergeOptions struct {
	adapter, model, outputDir string
	force                     bool
}

// mergeResult is what `descant merge` reports.
type mergeResult struct {
	OutputDir    string   `json:"output_dir"`
	Adapter      string   `json:"adapter"`
	Base         string   `json:"base"`
	BaseDigest   string   `json:"base_digest"`
	Bytes        int64    `json:"bytes"` // of all weights
	Tensors      int      `json:"changed_tensors"`
	MaxLogitDiff float64  `json:"max_logit_diff"`
	LeftOut      []string `json:"left_out"` // files of the base that hold its weights in another format
	Seconds      float64  `json:"seconds"`
}

func (a *app) mergeCommand() *cobra.Command {
	var o mergeOptions
	cmd := a.command(&cobra.Command{
		Use: "merge ADAPTER", Short: "Write a whole model: the base with an adapter added into its weights", Args: exactArgs(1),
		Long: `Write a whole model: the base with an adapter added into its weights. ADAPTER is a folder (ours, or one that
PEFT saved), or a published adapter as name or name@version. The sums are made in float32 and written in the
base's dtype, in files of the same names as the base's; its other files are copied. At the end the merged model,
as it was written, is compared with base and adapter on a fixed prompt.`,
		Example: `  descant merge out/ --output-dir merged/
  descant merge my-adapter@3 --output-dir merged/ --force
  descant merge peft-adapter/ --model Qwen/Qwen2.5-0.5B-Instruct --output-dir merged/ --json`,
	}, "device hub bus blob embedded", func(ctx context.Context, args []string) error {
		o.adapter = args[0]
		ctx, _, release := lifecycle.Signals(ctx)
		defer release()
		err := a.merge(ctx, o)
		if errors.Is(err, lifecycle.ErrStopping) || errors.Is(err, context.Canceled) {
			return interrupted("stopped; nothing was written")
		}
		return err
	})
	f := cmd.Flags()
	f.StringVar(&o.outputDir, "output-dir", "merged", "folder for the model")
	f.StringVar(&o.model, "model", "", "base model (default: the one that the adapter names)")
	f.BoolVar(&o.force, "force", false, "replace the output folder if it exists")
	return cmd
}

func (a *app) merge(ctx context.Context, o mergeOptions) error {
	started := time.Now()
	out, err := newOutputDir(o.outputDir, o.force)
	if err != nil {
		return err
	}
	defer out.discard()
	work, err := os.MkdirTemp("", "descant-merge-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // a private folder in the system's own temporary one
	source, err := a.adapterAt(ctx, o.adapter, o.model, work)
	if err != nil {
		return err
	}
	for _, input := range []string{source.base.Dir, source.dir} {
		if sameFolder(input, out.path) {
			return fmt.Errorf("%s is what is to be merged: choose another output folder", out.path)
		}
	}
	result := mergeResult{OutputDir: out.path, Adapter: source.name, Base: source.baseName, BaseDigest: source.base.Digest}
	adapter, err := a.mergeInto(ctx, source, out.temporary, &result)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.err, "comparing the merged model with base and adapter")
	if result.MaxLogitDiff, err = a.compareMerged(adapter, source, out.temporary); err != nil {
		return err
	}
	if err := errors.Join(context.Cause(ctx), ctx.Err()); err != nil {
		return err
	}
	if err := out.commit(); err != nil {
		return err
	}
	result.Seconds = time.Since(started).Seconds()
	return a.print(result, func() {
		for _, name := range result.LeftOut {
			fmt.Fprintf(a.err, "left out: %s (the base's weights, in another format)\n", name)
		}
		fmt.Fprintf(a.out, "model written to %s: %s, %d weights changed, largest logit difference to the unmerged model %.3g\n",
			result.OutputDir, bytesText(result.Bytes), result.Tensors, result.MaxLogitDiff)
		fmt.Fprintf(a.out, "talk to it:  descant chat --model %s --prompt \"你好\"\n", result.OutputDir)
	})
}

func sameFolder(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// mergeInto writes the merged weights and the base's other files.
func (a *app) mergeInto(ctx context.Context, source *adapterSource, dir string, result *mergeResult) (*lora.Adapter, error) {
	cfg, err := model.ReadConfig(source.base.Dir)
	if err != nil {
		return nil, err
	}
	adapter, err := lora.Load(cfg, source.dir)
	if err != nil {
		return nil, err
	}
	base, err := safetensors.OpenDir(source.base.Dir)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	if result.LeftOut, err = copyOthers(base, dir); err != nil {
		return nil, err
	}
	show := a.newMeter("merging")
	err = adapter.Merge(ctx, base, dir, func(done, total int64) {
		result.Bytes = total
		show.report(done, total)
	})
	show.end()
	for _, modules := range adapter.Layers {
		result.Tensors += len(modules)
	}
	return adapter, err
}

// copyOthers copies the files of a model folder that are not its weights, and lists those that hold weights in
// another format: they would be those of the unmerged model.
func copyOthers(base *safetensors.Set, dir string) (leftOut []string, err error) {
	leftOut = []string{}
	weights := []string{safetensors.IndexFile}
	for _, file := range base.Files() {
		weights = append(weights, filepath.Base(file.Path()))
	}
	entries, err := os.ReadDir(base.Dir())
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		name := entry.Name()
		// The cache of the hub holds links, so the kind of what they lead to counts.
		stat, err := os.Stat(filepath.Join(base.Dir(), name))
		if err != nil {
			return nil, err
		}
		switch {
		case !stat.Mode().IsRegular(), strings.HasPrefix(name, "."), slices.Contains(weights, name):
		case slices.Contains([]string{".bin", ".safetensors", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".gguf"}, filepath.Ext(name)),
			strings.HasSuffix(name, ".index.json"):
			leftOut = append(leftOut, name)
		default:
			if err := copyFile(filepath.Join(base.Dir(), name), filepath.Join(dir, name)); err != nil {
				return nil, fmt.Errorf("copy %s: %w", name, err)
			}
		}
	}
	return leftOut, nil
}

// compareMerged runs the fixed prompt through both.
func (a *app) compareMerged(adapter *lora.Adapter, source *adapterSource, merged string) (float64, error) {
	ids, err := comparedPrompt(source.base.Dir)
	if err != nil {
		return 0, err
	}
	dev, err := device.Open(a.cfg.Device)
	if err != nil {
		return 0, err
	}
	defer dev.Close()
	return adapter.MergedDifference(dev.Backend(), source.base.Dir, merged, ids)
}

// comparedPrompt is the fixed prompt in the ids of a model, in its chat template where it has one.
func comparedPrompt(dir string) ([]int32, error) {
	t, err := tokenizer.Load(dir)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	template, err := t.Template()
	if errors.Is(err, tokenizer.ErrNoTemplate) {
		return t.Encode(comparedText), nil
	}
	if err != nil {
		return nil, err
	}
	ids, _, err := t.EncodeChat(template, []chat.Message{chat.NewMessage("user", comparedText)}, nil, true)
	return ids, err
}
