package systemtest

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestTrainRefusesBF16 asks for bf16 where the only worker computes in pure Go: the command ends, as no other one will come.
func TestTrainRefusesBF16(t *testing.T) {
	t.Parallel()
	env, dir := small(t), t.TempDir()
	base := filepath.Join(dir, "base")
	TinyBase(t, base)
	got := descant(t, env, "train", "--model", base, "--max-steps", "1", "--dtype", "bf16", "--output-dir", filepath.Join(dir, "out"))
	if got.code == 0 || !strings.Contains(got.errors, "dtype bf16 cannot be used here") || !strings.Contains(got.errors, "use dtype f32 or auto") {
		t.Errorf("it ended with %d: %s", got.code, got.errors)
	}
}
