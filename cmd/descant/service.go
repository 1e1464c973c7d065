package main

import (
	"context"
	"errors"
	"runtime/debug"

	"github.com/spf13/cobra"

	"descant/pkg/lifecycle"
)

// serviceCommand runs one service as a process of its own, against servers elsewhere.
func (a *app) serviceCommand(kind string) *cobra.Command {
	short := map[string]string{
		kindGateway:   "Run the gateway: requests become jobs, people ask and control",
		kindTokenizer: "Run a tokenizer: datasets become tokenized shards",
		kindTrainer:   "Run a trainer: shards and a base become a published adapter",
		kindInference: "Run an inference worker: chat with bases and published adapters",
	}
	return a.command(&cobra.Command{
		Use: kind, Short: short[kind],
		Example: "  descant " + kind + ` --bus-url nats://nats:4222 --blob-endpoint http://minio:9000
  DESCANT_BUS_URL=nats://nats:4222 DESCANT_HTTP_ADDR=127.0.0.1:8080 descant ` + kind,
	}, "device worker grace log http bus blob hub "+kind, func(ctx context.Context, _ []string) error {
		log, err := a.logger(false)
		if err != nil {
			return err
		}
		if kind == kindTokenizer && lookup(a.environ, "GOGC") == "" {
			// Most of its memory is the library's, outside of the collector's sight: docs/data.md has the measured sum.
			debug.SetGCPercent(50)
		}
		ctx, hurry, release := lifecycle.Signals(ctx)
		defer release()
		s, err := connect(ctx, a.cfg, log)
		if err != nil {
			return err
		}
		services, err := s.services(kind)
		if err == nil {
			log.Info("started", "service", kind, "worker", s.cfg.workerName(kind), "version", buildVersion())
			err = s.serve(ctx, hurry, services)
		}
		return joinClose(err, s)
	})
}

// joinClose closes a system after its use and keeps both errors.
func joinClose(err error, s *system) error { return errors.Join(err, s.close()) }
