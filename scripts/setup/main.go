// Command setup brings the native parts that descant links or loads into the per-user cache.
//
// It is idempotent: what is there is left alone, and a part appears under its final name only when it is whole.
// `make setup` runs it; so do the other targets of the Makefile.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"descant/pkg/device"
)

const usage = `setup installs what descant needs beside Go and a C compiler.

Usage:
  go run ./scripts/setup [--servers] [--sdks] [--env]

  --servers  also build nats-server, the nats command line tool and MinIO, which the tests start as real
             processes (once; about ten minutes on two cores)
  --sdks     also install OpenAI's SDKs for Python and Node, schemathesis and Chromium, with which the HTTP API and the page are tested;
  --env      print the export lines that plain go build and go test need, and install nothing

Environment:
  DESCANT_CACHE              the folder to install into (default: descant in the user's cache folder)
  DESCANT_TOKENIZERS_LIB     a libtokenizers.a that is already on this machine
  DESCANT_TOKENIZERS_SOURCE  "release" or "cargo": use only this way to get libtokenizers
  DESCANT_XLA_WHEEL          the wheel of the XLA CPU plugin, for a machine without a network
`

// part is one thing to install.
type part struct {
	name string
	// install returns the path of what is there afterwards.
	install func(ctx context.Context, cache string, say func(string)) (string, error)
}

func main() {
	servers := flag.Bool("servers", false, "")
	sdks := flag.Bool("sdks", false, "")
	env := flag.Bool("env", false, "")
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "setup: unexpected argument %q\n\n%s", flag.Arg(0), usage)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *servers, *sdks, *env); err != nil {
		fmt.Fprintf(os.Stderr, "setup: %v\n", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, servers, sdks, env bool) error {
	cache := device.CacheDir()
	if cache == "" {
		return errors.New("there is no home folder: set DESCANT_CACHE to a folder to install into")
	}
	if env {
		fmt.Print(exports(cache))
		return nil
	}
	if err := os.MkdirAll(filepath.Join(cache, "native"), 0o755); err != nil {
		return fmt.Errorf("make the cache folder: %w: make it writable, or set DESCANT_CACHE to another", err)
	}
	parts := []part{{"libtokenizers", installTokenizers}, {"XLA CPU plugin", device.InstallXLACPU}}
	if servers {
		parts = append(parts, serverParts()...)
	}
	if sdks {
		parts = append(parts, sdkParts()...)
	}
	var failed []error
	for i, p := range parts {
		began := time.Now()
		say := func(line string) {
			fmt.Fprintf(os.Stderr, "setup [%d/%d] %s: %s\n", i+1, len(parts), p.name, line)
		}
		path, err := p.install(ctx, cache, say)
		switch {
		case err != nil:
			failed = append(failed, fmt.Errorf("%s: %w", p.name, err))
			say("failed")
		case time.Since(began) > time.Second:
			say(fmt.Sprintf("ready in %s: %s", time.Since(began).Round(time.Second), path))
		}
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted: nothing half-done was left; run it again to go on: %w", context.Cause(ctx))
		}
	}
	return errors.Join(failed...)
}

// exports are the lines of a shell that let plain go build and go test find the native parts.
func exports(cache string) string {
	return fmt.Sprintf("export DESCANT_CACHE=%q\nexport CGO_ENABLED=1\nexport CGO_LDFLAGS=%q\nexport GOEXPERIMENT=simd\n",
		cache, "-L"+filepath.Dir(tokenizersLib(cache)))
}
