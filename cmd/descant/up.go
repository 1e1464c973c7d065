package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"descant/pkg/embedded"
	"descant/pkg/lifecycle"
)

func (a *app) upCommand() *cobra.Command {
	return a.command(&cobra.Command{
		Use: "up", Short: "Run the whole system in this process, with embedded NATS and S3",
		Long: `Run the whole system in this process: a NATS server, an S3 server and the four services, on loopback
addresses, with all data under one folder. A second start continues where the first one stopped.`,
		Example: `  descant up
  descant up --dir ./data --inference-model Qwen/Qwen2.5-0.5B-Instruct
  descant up --nats-addr 127.0.0.1:0 --s3-addr 127.0.0.1:0 --json
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

// up runs the four services on the servers of this process until a signal, and tells when they are ready.
func (a *app) up(ctx context.Context, hurry <-chan struct{}, s *system) error {
	services, err := s.services(serviceKinds()...)
	if err != nil {
		return err
	}
	services = append(services, lifecycle.Service{Name: "banner", Run: func(ctx context.Context) error {
		select {
		case <-s.gateway.Listening():
		case <-ctx.Done():
			return nil
		}
		select {
		case <-s.inference.Ready():
			if err := a.welcome(s); err != nil {
				return err
			}
			<-ctx.Done()
		case <-ctx.Done():
		}
		return nil
	}})
	return s.serve(ctx, hurry, services)
}

// welcome prints where everything is and what to type next.
func (a *app) welcome(s *system) error {
	at := s.servers.Endpoints
	value := map[string]string{
		"nats_url": at.NATSURL, "s3_endpoint": at.S3Endpoint, "bucket": s.cfg.Blob.Bucket,
		"credentials_file": filepath.Join(s.cfg.Embedded.Dir, embedded.CredentialsFile), "dir": s.cfg.Embedded.Dir,
		"api_url": s.gateway.URL(),
	}
	return a.print(value, func() {
		flags, server := a.reach(s)
		fmt.Fprintf(a.err, `descant is up: NATS at %s, S3 at %s, data in %s
  try:   descant finetune --model builtin:tiny --name my-adapter%s
  or:    nats%s pub finetune.request '{"model":"builtin:tiny","dataset":"builtin:sample","name":"my-adapter"}'
  watch: nats%s sub 'finetune.events.>'
  ask:   nats%s req inference.chat '{"model":"my-adapter","prompt":"你好"}' --replies=0 --wait-for-empty
  stop:  Ctrl-C
`, at.NATSURL, at.S3Endpoint, s.cfg.Embedded.Dir, flags, server, server, server)
		if url := s.gateway.URL(); url != "" {
			fmt.Fprintf(a.err, "  http:  %s/v1 speaks OpenAI's API: OPENAI_BASE_URL=%s/v1\n  page:  %s\n", url, url, url)
		}
	})
}

// reach returns the flags with which descant and the nats CLI find this system: none where everything is
// at its usual place.
func (a *app) reach(s *system) (flags, server string) {
	at, usual := s.servers.Endpoints, defaults()
	var words []string
	if at.NATSURL != usual.Bus.URL {
		words = append(words, "--bus-url", at.NATSURL)
		server = " --server " + at.NATSURL
	}
	if at.S3Endpoint != usual.Blob.Endpoint {
		words = append(words, "--blob-endpoint", at.S3Endpoint)
	}
	if s.cfg.Embedded.Dir != usual.Embedded.Dir {
		words = append(words, "--dir", s.cfg.Embedded.Dir)
	}
	if len(words) > 0 {
		flags = " " + strings.Join(words, " ")
	}
	return flags, server
}
