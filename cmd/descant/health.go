package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) healthCommand() *cobra.Command {
	return a.command(&cobra.Command{
		Use: "health", Short: "Ask a running service whether it is ready (for health checks of containers)",
		Example: "  descant health --http-addr 127.0.0.1:8080",
	}, "http", func(ctx context.Context, _ []string) error {
		if _, port, _ := strings.Cut(a.cfg.HTTP.Addr, ":"); port == "" || port == "0" {
			return &exitError{code: exitUsage, err: fmt.Errorf("address %s tells no port: use --http-addr or DESCANT_HTTP_ADDR, the same as the service's", a.cfg.HTTP.Addr)}
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.cfg.HTTP.Addr+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return fmt.Errorf("the service does not answer on %s: %w", a.cfg.HTTP.Addr, err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("not ready: %s", strings.TrimSpace(string(text)))
		}
		return a.print(map[string]bool{"ready": true}, func() { fmt.Fprintln(a.out, "ready") })
	})
}
