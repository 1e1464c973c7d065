// Package llamacpp installs llama.cpp, as Node.js bindings that bring it compiled, for the programs that compare with it.
package llamacpp

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"descant/scripts/once"
)

// Version pins the bindings; they bring llama.cpp compiled.
const Version = "3.21.1"

// Install has npm put node-llama-cpp into a folder, unless this version is there. Of its builds only the one for
// this machine's CPU is fetched; those for GPUs are ten times as large.
func Install(ctx context.Context, dir string) error {
	platform := map[string]string{"linux/amd64": "linux-x64", "linux/arm64": "linux-arm64", "darwin/arm64": "mac-arm64-metal", "darwin/amd64": "mac-x64"}[runtime.GOOS+"/"+runtime.GOARCH]
	if platform == "" {
		return fmt.Errorf("node-llama-cpp has no build for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return once.Do(filepath.Join(dir, ".installed"), Version, func() error {
		cmd := exec.CommandContext(ctx, "npm", "install", "--prefix", dir, "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund",
			"--save-exact", "node-llama-cpp@"+Version, "@node-llama-cpp/"+platform+"@"+Version)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("npm install node-llama-cpp: %w", err)
		}
		return nil
	})
}
