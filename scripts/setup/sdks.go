package main

import (
	"context"
	_ "embed" // for the pinned packages
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"descant/pkg/blob"
	"descant/scripts/once"
)

// requirements pins OpenAI's Python SDK and schemathesis with all that they need.
//
//go:embed sdk/requirements.txt
var requirements []byte

// nodeSDK is OpenAI's SDK for Node, which needs nothing else.
const nodeSDK = "openai@7.57.0"

// sdkParts are what the HTTP API and the page are tested with.
func sdkParts() []part {
	return []part{{"OpenAI's Python SDK and schemathesis", installPythonSDK}, {"OpenAI's Node SDK", installNodeSDK}, {"Chromium", installChromium}}
}

func installPythonSDK(ctx context.Context, cache string, say func(string)) (string, error) {
	python, err := exec.LookPath("python3")
	if err != nil {
		return "", errors.New("python3 is not on this machine: install it with its venv module")
	}
	dir := filepath.Join(cache, "sdk", "python")
	return dir, installOnce(dir, blob.Digest(requirements), func() error {
		say("installing into " + dir)
		list := filepath.Join(dir, "requirements.txt")
		if err := os.WriteFile(list, requirements, 0o644); err != nil {
			return err
		}
		if err := quietly(ctx, python, "-m", "venv", filepath.Join(dir, "venv")); err != nil {
			return err
		}
		return quietly(ctx, filepath.Join(dir, "venv", "bin", "python"), "-m", "pip", "install", "--disable-pip-version-check", "-r", list)
	})
}

func installNodeSDK(ctx context.Context, cache string, say func(string)) (string, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return "", errors.New("npm is not on this machine: install Node with npm")
	}
	dir := filepath.Join(cache, "sdk", "node")
	return dir, installOnce(dir, nodeSDK, func() error {
		say("installing into " + dir)
		return quietly(ctx, npm, "install", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact", nodeSDK)
	})
}

// installOnce runs install for an empty folder, unless what it makes is there already.
func installOnce(dir, version string, install func() error) error {
	return once.Do(filepath.Join(dir, ".version"), version, func() error {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		return install()
	})
}

// quietly runs a command and shows the end of what it printed if it fails.
func quietly(ctx context.Context, name string, args ...string) error {
	var output tailWriter
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w; it ended with:\n%s", filepath.Base(name), err, output.String())
	}
	return nil
}
