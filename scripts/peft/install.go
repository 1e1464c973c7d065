// Package peft installs PyTorch, transformers and PEFT for the programs that compare with them.
package peft

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"descant/scripts/once"
)

//go:embed requirements.txt
var requirements []byte

// Install makes a virtual environment in a folder, unless it is there with these requirements, and returns its Python.
func Install(ctx context.Context, venv string) (python string, err error) {
	python, err = filepath.Abs(filepath.Join(venv, "bin", "python"))
	if err != nil {
		return "", err
	}
	wanted := filepath.Join(venv, "requirements.txt")
	err = once.Do(filepath.Join(venv, "installed.txt"), string(requirements), func() error {
		if err := run(ctx, "python3", "-m", "venv", venv); err != nil {
			return err
		}
		if err := os.WriteFile(wanted, requirements, 0o644); err != nil {
			return err
		}
		return run(ctx, python, "-m", "pip", "install", "--quiet", "-r", wanted)
	})
	if err != nil {
		return "", fmt.Errorf("install PyTorch, transformers and PEFT in %s: %w", venv, err)
	}
	return python, nil
}

func run(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
}
