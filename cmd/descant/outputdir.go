package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// outputDir is a folder that appears whole or not at all: everything is written to a temporary one beside it, which
// takes its name when it is complete.
type outputDir struct {
	path, temporary string
}

// newOutputDir refuses a folder that exists, unless force says that it may be replaced.
func newOutputDir(path string, force bool) (*outputDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	switch entries, err := os.ReadDir(path); {
	case err == nil && len(entries) > 0 && !force:
		return nil, fmt.Errorf("%s exists and is not empty: choose another folder, or replace it with --force", path)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("output folder: %w", err)
	}
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, fmt.Errorf("output folder: %w", err)
	}
	temporary, err := os.MkdirTemp(parent, "."+filepath.Base(path)+".*")
	if err != nil {
		return nil, fmt.Errorf("output folder: %w", err)
	}
	return &outputDir{path: path, temporary: temporary}, nil
}

// commit gives the folder its name. What had the name is removed when the new folder is in its place.
func (o *outputDir) commit() error {
	if err := os.Chmod(o.temporary, 0o755); err != nil {
		return fmt.Errorf("output folder: %w", err)
	}
	before := o.temporary + ".before"
	err := os.Rename(o.path, before)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("output folder: %w", err)
	}
	had := err == nil
	if err := os.Rename(o.temporary, o.path); err != nil {
		if had {
			err = errors.Join(err, os.Rename(before, o.path))
		}
		return fmt.Errorf("output folder: %w", err)
	}
	if had {
		return os.RemoveAll(before)
	}
	return nil
}

// discard removes what was written and not committed.
func (o *outputDir) discard() { _ = os.RemoveAll(o.temporary) }
