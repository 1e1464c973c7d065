package stage_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"descant/pkg/stage"
)

// TestSweep: a folder whose owner is gone is deleted, one that is in use and everything else stays.
func TestSweep(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	used, err := stage.NewWorkFolder(root, "ft-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"attempt-ft-2-77/shards", "notes"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	stage.Sweep(root, slog.New(slog.DiscardHandler))
	if _, err := os.Stat(filepath.Join(root, "attempt-ft-2-77")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder of a dead process is still there (%v)", err)
	}
	for _, dir := range []string{used.Dir, filepath.Join(root, "notes")} {
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
	}
	if err := used.Remove(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 1 {
		t.Errorf("%v are left, %v", entries, err)
	}
}
