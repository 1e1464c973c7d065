// Package peft installs PyTorch, transformers and PEFT for the programs that compare with them.
package peft

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed requirements.txt
var requirements []byte

// Install makes a virtual environment in a folder, unless it is there with these requirements, and returns its Python.
func Install(ctx context.Context, venv string) (python string, err error) {
	python, err = filepath.Abs(filepath.Join(venv, "bin", "python"))
	if err != nil {
		return "", err
	}
	stamp := filepath.Join(venv, "installed.txt")
	if have, err := os.ReadFile(stamp); err == nil && string(have) == string(requirements) {
		return python, nil
	}
	wanted := filepath.Join(venv, "requirements.txt")
	for _, step := range []func() error{
		func() error { return run(ctx, "python3", "-m", "venv", venv) },
		func() error { return os.WriteFile(wanted, requirements, 0o644) },
		func() error { return run(ctx, python, "-m", "pip", "install", "--quiet", "-r", wanted) },
		func() error { return os.WriteFile(stamp, requirements, 0o644) },
	} {
		if err := step(); err != nil {
			return "", fmt.Errorf("install PyTorch, transformers and PEFT in %s: %w", venv, err)
		}
	}
	return python, nil
}

func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}
