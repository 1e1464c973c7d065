package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"descant/pkg/gguf"
	"descant/pkg/hub"
	"descant/pkg/lifecycle"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/tokenizer"
)

// Names of the files that `descant export gguf` writes.
const (
	ggufAdapterFile = "adapter.gguf"
	ggufBaseFile    = "base.gguf"
	modelfileName   = "Modelfile"
)

// exportOptions are the flags of `descant export gguf`.
type exportOptions struct {
	adapter, model, from, outputDir, outType string
	base, force                              bool
}

// exportResult is what `descant export gguf` reports.
type exportResult struct {
	OutputDir string `json:"output_dir"`
	Adapter   string `json:"adapter,omitempty"`
	Base      string `json:"base"`
	// Files are those that were written, with their sizes in bytes.
	Files map[string]int64 `json:"files"`
	// Template is the family of the chat template in the Modelfile, or "".
	Template string `json:"template"`
}

func (a *app) exportCommand() *cobra.Command {
	var o exportOptions
	cmd := a.command(&cobra.Command{
		Use: "gguf [ADAPTER]", Short: "Write an adapter, and with --base its base, for llama.cpp and Ollama", Args: atMostArgs(1),
		Long: `Write an adapter, and with --base its base, as GGUF files for llama.cpp and Ollama, with a Modelfile. ADAPTER is a
folder (ours, or one that PEFT saved), or a published adapter as name or name@version; without it, --base and
--model write a base alone. The adapter is written in float32, the base in its own dtype
or as --outtype says.`,
		Example: `  descant export gguf out/ --output-dir gguf/
  descant export gguf my-adapter@3 --base --output-dir gguf/ && ollama create my-adapter -f gguf/Modelfile
  descant export gguf out/ --from qwen2.5:0.5b-instruct-fp16 --output-dir gguf/
  descant export gguf --base --outtype q8_0 --model builtin:tiny --output-dir gguf/`,
	}, "hub bus blob embedded", func(ctx context.Context, args []string) error {
		if len(args) == 1 {
			o.adapter = args[0]
		}
		ctx, _, release := lifecycle.Signals(ctx)
		defer release()
		err := a.exportGGUF(ctx, o)
		if errors.Is(err, lifecycle.ErrStopping) || errors.Is(err, context.Canceled) {
			return interrupted("stopped; nothing was written")
		}
		return err
	})
	f := cmd.Flags()
	f.StringVar(&o.outputDir, "output-dir", "gguf", "folder for the files")
	f.StringVar(&o.model, "model", "", "base model (default: the one that the adapter names)")
	f.BoolVar(&o.base, "base", false, "write the base as well")
	f.StringVar(&o.outType, "outtype", "auto", "type of the base's matrices with --base: "+strings.Join(gguf.OutTypes(), ", ")+" (auto: their own)")
	f.StringVar(&o.from, "from", "", "base in the Modelfile: a model of Ollama or a GGUF file (default: what --base writes, else the base's folder)")
	f.BoolVar(&o.force, "force", false, "replace the output folder if it exists")
	return group("export", "Write adapters and bases for other programs", "  descant export gguf out/ --output-dir gguf/", cmd)
}

func (a *app) exportGGUF(ctx context.Context, o exportOptions) error {
	if o.adapter == "" && (!o.base || o.model == "") {
		return &exitError{code: exitUsage, err: errors.New("there is nothing to export: name an adapter, or a base with --base --model\nSee: descant export gguf --help")}
	}
	if !slices.Contains(gguf.OutTypes(), o.outType) || o.outType != "auto" && !o.base {
		return &exitError{code: exitUsage, err: fmt.Errorf("--outtype %s: give one of %s, and --base with it: adapters are always float32", o.outType,
			strings.Join(gguf.OutTypes(), ", "))}
	}
	out, err := newOutputDir(o.outputDir, o.force)
	if err != nil {
		return err
	}
	defer out.discard()
	work, err := os.MkdirTemp("", "descant-export-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }() // a private folder in the system's own temporary one
	source := &adapterSource{}
	if o.adapter != "" {
		source, err = a.adapterAt(ctx, o.adapter, o.model, work)
	} else {
		source.baseName, source.base, err = a.base(ctx, o.model)
	}
	if err != nil {
		return err
	}
	result := exportResult{OutputDir: out.path, Adapter: source.name, Base: source.baseName, Files: map[string]int64{}}
	if err := a.writeGGUF(ctx, source, o, out.temporary, &result); err != nil {
		return err
	}
	if err := out.commit(); err != nil {
		return err
	}
	return a.print(result, func() {
		for name, size := range result.Files {
			fmt.Fprintf(a.out, "%s (%s)\n", filepath.Join(result.OutputDir, name), bytesText(size))
		}
		if result.Template == "" {
			fmt.Fprintln(a.err, "warning: no template of Ollama gives the texts of this model's chat template; the Modelfile has none, so Ollama uses that of the base")
		}
		fmt.Fprintf(a.out, "with Ollama:  ollama create NAME -f %s\n", filepath.Join(result.OutputDir, modelfileName))
	})
}

// writeGGUF writes the files into dir.
func (a *app) writeGGUF(ctx context.Context, source *adapterSource, o exportOptions, dir string, result *exportResult) error {
	file := gguf.Modelfile{From: firstOf(o.from, source.base.Dir)}
	if source.dir != "" {
		if err := writeAdapterGGUF(source, filepath.Join(dir, ggufAdapterFile)); err != nil {
			return err
		}
		file.Adapter = "./" + ggufAdapterFile
	}
	if o.base {
		show := a.newMeter("writing " + ggufBaseFile)
		err := gguf.WriteBase(ctx, filepath.Join(dir, ggufBaseFile), source.base.Dir, gguf.BaseOptions{Name: source.baseName, OutType: o.outType, Progress: show.report})
		show.end()
		if err != nil {
			return err
		}
		file.From = firstOf(o.from, "./"+ggufBaseFile)
	}
	if err := writeModelfile(source.base, file, filepath.Join(dir, modelfileName), result); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return err
		}
		result.Files[e.Name()] = info.Size()
	}
	return nil
}

func writeAdapterGGUF(source *adapterSource, path string) error {
	cfg, err := model.ReadConfig(source.base.Dir)
	if err != nil {
		return err
	}
	adapter, err := lora.Load(cfg, source.dir)
	if err != nil {
		return err
	}
	return gguf.WriteAdapter(path, cfg, adapter, gguf.AdapterInfo{Name: firstOf(source.manifest.GetName(), filepath.Base(source.dir)),
		Base: source.baseName, BaseDigest: source.base.Digest})
}

func writeModelfile(base *hub.Snapshot, file gguf.Modelfile, path string, result *exportResult) error {
	t, err := tokenizer.Load(base.Dir)
	if err != nil {
		return err
	}
	defer t.Close()
	m, err := gguf.NewModelfile(t, file.From, file.Adapter)
	if err != nil {
		return err
	}
	result.Template = m.Family
	return os.WriteFile(path, []byte(m.String()), 0o644)
}
