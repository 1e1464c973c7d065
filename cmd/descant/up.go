package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"descant/pkg/lifecycle"
)

func (a *app) upCommand() *cobra.Command {
	return a.command(&cobra.Command{
		Use: "up", Short: "Run the whole system in this process, with embedded NATS and S3",
		Long: `Run the whole system in this process: a NATS server, an S3 server and the four services, on loopback
addresses, with all data under one folder. A second start continues where the first one stopped.`,
		Example: `  descant up
  descant up --embedded-dir ./data --inference-model Qwen/Qwen2.5-0.5B-Instruct
  nats pub finetune.request '{"model":"builtin:tiny","dataset":"builtin:sample","name":"my-adapter"}'`,
	}, "device grace log http embedded hub gateway tokenizer trainer inference", func(ctx context.Context, _ []string) error {
		log, err := a.logger(false)
		if err != nil {
			return err
		}
		ctx, hurry, release := lifecycle.Signals(ctx)
		defer release()
		cfg := a.cfg
		if cfg.Worker == "" {
			// The folder's lock lets only one process run on this data, so the same name after a restart
			// takes its own leases over at once.
			cfg.Worker = "up"
		}
		s, err := startEmbedded(ctx, cfg, log)
		if err != nil {
			return err
		}
		err = a.up(ctx, hurry, s)
		return joinClose(err, s)
	})
}

func (a *app) up(ctx context.Context, hurry <-chan struct{}, s *system) error {
	services, err := s.services(serviceKinds()...)
	if err != nil {
		return err
	}
	at := s.servers.Endpoints
	services = append(services, lifecycle.Service{Name: "banner", Run: func(ctx context.Context) error {
		select {
		case <-s.inference.Ready():
			fmt.Fprintf(a.err, `descant is up: NATS at %s, S3 at %s, data in %s
  try:   descant finetune --model builtin:tiny --name my-adapter
  or:    nats pub finetune.request '{"model":"builtin:tiny","dataset":"builtin:sample","name":"my-adapter"}'
  watch: nats sub 'finetune.events.>'
  stop:  Ctrl-C
`, at.NATSURL, at.S3Endpoint, s.cfg.Embedded.Dir)
			<-ctx.Done()
		case <-ctx.Done():
		}
		return nil
	}})
	return s.serve(ctx, hurry, services)
}
