package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"descant/pkg/bus"
	"descant/pkg/grammar"
	"descant/pkg/lifecycle"
	"descant/pkg/pb"
)

// silence is how long a worker may say nothing before we give up: a first answer waits for compilers.
const silence = 10 * time.Minute

// chatOptions are the flags of `descant chat`.
type chatOptions struct {
	model, adapterDir, prompt, system string
	maxTokens, topK                   uint32
	temperature, topP, minP           float64
	seed                              int64
	stop                              []string
	jsonSchema                        string
	set                               func(flag string) bool // whether a flag was given
}

func (a *app) chatCommand() *cobra.Command {
	var o chatOptions
	cmd := a.command(&cobra.Command{
		Use: "chat", Short: "Talk to a model, with or without an adapter",
		Long: `Talk to a model, with or without an adapter from a folder: ours, or one that PEFT saved. With --prompt it
answers once; without, a conversation begins, in which /help lists the commands: another adapter in the middle,
answers side by side, a file of what was said. The services run in this process.`,
		Example: `  descant chat --adapter-dir out/ --prompt "请用三点总结这段话：…"
  descant chat --model builtin:tiny
  descant chat --model Qwen/Qwen2.5-0.5B-Instruct --adapter_dir out/ --prompt "Hello" --temperature 0
  descant chat --model builtin:tiny --prompt "Hello" --json-schema '{"enum":["yes","no"]}'`,
	}, "device log hub inference", func(ctx context.Context, _ []string) error { return a.chat(ctx, o) })
	f := cmd.Flags()
	f.StringVar(&o.model, "model", "", "base model (default: the one that the adapter names, else "+defaultModel+")")
	f.StringVar(&o.adapterDir, "adapter-dir", "", "folder with adapter_config.json and adapter_model.safetensors")
	f.StringVar(&o.prompt, "prompt", "", "answer this and leave")
	f.StringVar(&o.system, "system", "", "system message")
	f.Uint32Var(&o.maxTokens, "max-tokens", 0, "longest answer in tokens (default: inference.max_tokens)")
	f.Float64Var(&o.temperature, "temperature", 0, "sampling temperature; 0 always takes the likeliest token (default: the model's)")
	f.Float64Var(&o.topP, "top-p", 0, "nucleus sampling (default: the model's)")
	f.Uint32Var(&o.topK, "top-k", 0, "sample from the k likeliest tokens; 0 is all (default: the model's)")
	f.Float64Var(&o.minP, "min-p", 0, "leave out tokens less likely than this share of the likeliest (default: the model's)")
	f.StringArrayVar(&o.stop, "stop", nil, "text that ends the answer; may be given several times")
	f.StringVar(&o.jsonSchema, "json-schema", "", "have the answer follow a JSON Schema: a file with it, or the schema itself")
	f.Int64Var(&o.seed, "seed", 0, "seed of the sampling (default: drawn)")
	o.set = func(flag string) bool { return cmd.Flags().Changed(flag) }
	return cmd
}

// chat finds the model, starts a worker for it, and answers.
func (a *app) chat(ctx context.Context, o chatOptions) error {
	ctx, hurry, release := a.chatSignals(ctx, o)
	defer release()
	if o.jsonSchema != "" {
		var err error
		if o.jsonSchema, err = schemaText(o.jsonSchema); err != nil {
			return err
		}
	}
	adapter, named, err := adapterFolder(o.adapterDir)
	if err != nil {
		return err
	}
	model, snapshot, err := a.base(ctx, firstOf(o.model, named, defaultModel))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "descant-chat-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a private folder in the system's own temporary one
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	settings := a.cfg
	a.cfg.Inference.Model = model
	defer func() { a.cfg = settings }()
	s, err := a.startPrivate(ctx, dir)
	if err != nil {
		return err
	}
	t := &talk{app: a, bus: s.bus, options: o, base: model, worker: s.cfg.workerName(kindInference),
		system: s, digest: snapshot.Digest, work: dir, cwd: cwd, adapters: map[string]string{}}
	if adapter != "" {
		t.model, err = publishFolder(ctx, s, adapter, filepath.Join(dir, "publish"), &pb.AdapterManifest{
			Name: "adapter", Base: model, BaseDigest: snapshot.Digest, CreatedAt: bus.Timestamp(time.Now())})
		if err != nil {
			return joinClose(err, s)
		}
		t.adapters[o.adapterDir] = t.model
	}
	services, err := s.services(kindInference)
	if err != nil {
		return joinClose(err, s)
	}
	services = append(services, lifecycle.Service{Name: "command", Run: func(ctx context.Context) error {
		select {
		case <-s.inference.Taking():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		return t.run(ctx)
	}})
	err = explainService(s.serve(ctx, hurry, services))
	if err == nil && errors.Is(context.Cause(ctx), lifecycle.ErrStopping) {
		err = interrupted("interrupted")
	}
	return joinClose(err, s)
}

// chatSignals ends a single answer by any signal; in a conversation Ctrl-C belongs to the answer that is
// being given, so only a request to terminate ends the command.
func (a *app) chatSignals(ctx context.Context, o chatOptions) (context.Context, <-chan struct{}, func()) {
	if o.set("prompt") || !terminal(a.in) {
		return lifecycle.Signals(ctx)
	}
	ctx, release := signal.NotifyContext(ctx, syscall.SIGTERM)
	return ctx, nil, release
}

// schemaText is the schema that --json-schema means: what begins with a brace, else a file.
func schemaText(given string) (string, error) {
	text := strings.TrimSpace(given)
	if !strings.HasPrefix(text, "{") {
		data, err := os.ReadFile(given)
		if err != nil {
			return "", fmt.Errorf("--json-schema: %w; give a file, or the schema itself", err)
		}
		text = string(data)
	}
	if _, err := grammar.JSONSchema(text); err != nil {
		return "", &exitError{code: exitUsage, err: fmt.Errorf("--json-schema cannot be used: %w", err)}
	}
	return text, nil
}

// adapterFolder checks an adapter's folder and returns its absolute path and the base that it names.
func adapterFolder(dir string) (path, base string, err error) {
	if dir == "" {
		return "", "", nil
	}
	if path, err = filepath.Abs(dir); err != nil {
		return "", "", err
	}
	text, err := os.ReadFile(filepath.Join(path, "adapter_config.json"))
	if errors.Is(err, os.ErrNotExist) {
		if _, statErr := os.Stat(filepath.Join(path, "config.json")); statErr == nil {
			return "", "", fmt.Errorf("%s is a whole model, not an adapter: use --model %s", dir, dir)
		}
		return "", "", fmt.Errorf("%s has no adapter_config.json: name the folder that `descant train --output-dir` or PEFT wrote", dir)
	}
	if err != nil {
		return "", "", err
	}
	var config struct {
		Base string `json:"base_model_name_or_path"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return "", "", fmt.Errorf("%s: %w", filepath.Join(path, "adapter_config.json"), err)
	}
	return path, config.Base, nil
}

// publishFolder publishes the two files of an adapter into a private system, where the worker finds them
// as it finds any other, and returns the reference.
func publishFolder(ctx context.Context, s *system, from, temporary string, manifest *pb.AdapterManifest) (string, error) {
	if err := os.MkdirAll(temporary, 0o755); err != nil {
		return "", err
	}
	for _, name := range []string{"adapter_config.json", "adapter_model.safetensors"} {
		if err := copyFile(filepath.Join(from, name), filepath.Join(temporary, name)); err != nil {
			return "", fmt.Errorf("adapter: %w", err)
		}
	}
	found, err := s.registry.Publish(ctx, temporary, manifest)
	if err != nil {
		return "", err
	}
	return found.Pinned(), nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
