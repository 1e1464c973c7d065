package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"descant/scripts/once"
)

// serverModules are the programs that tests run as real processes, each pinned to a version.
// MinIO no longer tags releases for the module proxy: the pseudo-version is its last one.
var serverModules = []struct{ binary, module string }{
	{"nats-server", "github.com/nats-io/nats-server/v2@v2.15.2"},
	{"nats", "github.com/nats-io/natscli/nats@v0.5.1"},
	{"minio", "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"},
}

func serverParts() []part {
	var parts []part
	for _, server := range serverModules {
		parts = append(parts, part{server.binary, func(ctx context.Context, cache string, say func(string)) (string, error) {
			return installServer(ctx, cache, server.binary, server.module, say)
		}})
	}
	return parts
}

// installServer builds a Go program into the cache's bin folder unless the pinned version is there already.
func installServer(ctx context.Context, cache, binary, module string, say func(string)) (string, error) {
	bin := filepath.Join(cache, "bin")
	target, stamp := filepath.Join(bin, binary), filepath.Join(bin, "."+binary+".version")
	if _, err := os.Stat(target); errors.Is(err, fs.ErrNotExist) { // somebody removed it, and left the stamp
		if err := os.RemoveAll(stamp); err != nil {
			return "", err
		}
	}
	return target, once.Do(stamp, module, func() error {
		if err := os.MkdirAll(bin, 0o755); err != nil {
			return err
		}
		say("building " + module)
		var output tailWriter
		install := exec.CommandContext(ctx, "go", "install", module)
		// The experiment and the linker flags are descant's own; these programs are built as their authors build them.
		install.Env = append(without(os.Environ(), "CGO_LDFLAGS", "GOEXPERIMENT", "GOFLAGS"), "GOBIN="+bin)
		install.Stdout = &output
		install.Stderr = io.MultiWriter(&output, &progressWriter{say: say})
		if err := install.Run(); err != nil {
			return fmt.Errorf("go install %s: %w; it ended with:\n%s", module, err, output.String())
		}
		return nil
	})
}

// without is the environment less some variables.
func without(environ []string, names ...string) []string {
	var kept []string
next:
	for _, entry := range environ {
		for _, name := range names {
			if strings.HasPrefix(entry, name+"=") {
				continue next
			}
		}
		kept = append(kept, entry)
	}
	return kept
}
