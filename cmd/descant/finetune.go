package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"descant/pkg/bus"
	"descant/pkg/embedded"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/services/tokenizer"
)

func (a *app) finetuneCommand() *cobra.Command {
	var detach bool
	var flags *requestFlags
	cmd := a.command(&cobra.Command{
		Use: "finetune", Short: "Send a fine-tuning request to a running system and follow it",
		Long: `Send a fine-tuning request to a running system and follow it to its end. A dataset that is a file here is
pushed first. Ctrl-C stops following; the job goes on.`,
		Example: `  descant finetune --model builtin:tiny --name my-adapter
  descant finetune --model Qwen/Qwen2.5-0.5B-Instruct --dataset rows.jsonl --name support --max-steps 200 --detach`,
	}, "log bus blob embedded", func(ctx context.Context, _ []string) error {
		if err := flags.load(); err != nil {
			return &exitError{code: exitUsage, err: err}
		}
		return a.finetune(ctx, flags, detach)
	})
	cmd.Flags().BoolVar(&detach, "detach", false, "print the job and leave")
	var err error
	if flags, err = bindRequest(cmd); err != nil {
		panic(err) // the tags of job.Request are wrong, which every test would show
	}
	return cmd
}

func (a *app) finetune(ctx context.Context, flags *requestFlags, detach bool) error {
	if err := flags.check(); err != nil {
		return err
	}
	ctx, _, release := lifecycle.Signals(ctx)
	defer release()
	s, err := a.client(ctx)
	if err != nil {
		return err
	}
	err = a.finetuneOn(ctx, s, flags, detach)
	return joinClose(err, s)
}

func (a *app) finetuneOn(ctx context.Context, s *system, flags *requestFlags, detach bool) error {
	rows, err := localSources(&flags.request)
	if err != nil {
		return err
	}
	if err := rows.check(); err != nil {
		return err
	}
	err = rows.replace(func(path string) (string, error) {
		set, err := pushFile(ctx, s, datasetName(path), path, tokenizer.ReadOptions(flags.request.Training))
		if err == nil {
			fmt.Fprintf(a.err, "pushed %s: %d rows as dataset %s\n", filepath.Base(path), set.Rows, set.Name)
		}
		return set.Digest, err
	})
	if err != nil {
		return err
	}
	request, err := flags.JSON()
	if err != nil {
		return err
	}
	view, err := submit(ctx, s.bus, request, 0)
	if err != nil {
		return err
	}
	if detach {
		text, err := raw(view)
		if err != nil {
			return err
		}
		return a.print(text, func() {
			fmt.Fprintf(a.out, "%s\n", view.GetId())
			fmt.Fprintf(a.err, "adapter %s, state %s; follow it with: descant jobs watch %s\n", view.GetName(), view.GetState(), view.GetId())
		})
	}
	fmt.Fprintf(a.err, "job %s makes adapter %s\n", view.GetId(), view.GetName())
	return a.watch(ctx, s, view.GetId(), view.GetEpoch(), a.newProgress())
}

// watch follows a job until its end or a signal.
func (a *app) watch(ctx context.Context, s *system, id string, since uint64, show progress) error {
	done, err := follow(ctx, s.bus, id, since, show)
	show.end()
	if errors.Is(err, lifecycle.ErrStopping) {
		return interrupted("no longer following; the job goes on. See: descant jobs watch %s, descant jobs cancel %s", id, id)
	}
	if err != nil {
		return err
	}
	for _, w := range done.GetWarnings() {
		fmt.Fprintln(a.err, "warning:", w)
	}
	if err := outcome(done); err != nil {
		return err
	}
	if !a.json {
		fmt.Fprintf(a.out, "%s is published; ask it: nats req inference.chat '{\"model\":\"%s\",\"prompt\":\"你好\"}'\n",
			done.GetArtifacts().GetAdapterRef(), done.GetName())
	}
	return nil
}

// client connects to a running system for a command.
func (a *app) client(ctx context.Context) (*system, error) {
	log, err := a.logger(true)
	if err != nil {
		return nil, err
	}
	b, err := bus.Connect(ctx, a.clientBus(), log)
	if err != nil {
		return nil, err
	}
	return open(ctx, &system{cfg: a.clientConfig(), log: log, bus: b})
}

// clientConfig finds the keys of a `descant up` on this machine where none are configured, so that the
// commands beside it need no configuration.
func (a *app) clientConfig() Config {
	cfg := a.cfg
	if cfg.Blob.AccessKey == "" {
		// Without the file the store itself says that keys are missing.
		if access, secret, err := embedded.Credentials(cfg.Embedded.Dir); err == nil {
			cfg.Blob.AccessKey, cfg.Blob.SecretKey = access, secret
		}
	}
	return cfg
}

func (a *app) clientBus() bus.Config {
	cfg := a.cfg.Bus
	cfg.Name, cfg.Guest = "descant command", true
	return cfg
}

// datasetName makes a valid name of a file's name.
func datasetName(file string) string {
	name := strings.ToLower(strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)))
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-' {
			return r
		}
		return '-'
	}, name)
	name = strings.TrimLeft(name, "._-")
	if len(name) > 63 {
		name = name[:63]
	}
	if !job.ValidName(name) {
		return "dataset-" + time.Now().UTC().Format("20060102-150405")
	}
	return name
}
