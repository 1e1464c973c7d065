package systemtest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTrainGoesOnFromFolder trains an adapter into a folder and another from it: the second knows the first by the
// digest of its manifest.
func TestTrainGoesOnFromFolder(t *testing.T) {
	t.Parallel()
	env, dir := small(t), t.TempDir()
	base, first, second := filepath.Join(dir, "base"), filepath.Join(dir, "first"), filepath.Join(dir, "second")
	TinyBase(t, base)
	train := []string{"train", "--model", base, "--max-steps", "2", "--target-modules", `.*\.(q|v)_proj`, "--rank-pattern", "v_proj=2",
		"--init-lora-weights", "true", "--output-dir"}
	ok(t, env, append(train, first)...)
	ok(t, env, append(train, second, "--init-from", first)...)
	data, err := os.ReadFile(filepath.Join(first, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(second, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf(`"parent":"adapter@sha256:%x"`, sha256.Sum256(data)); !strings.Contains(string(manifest), want) {
		t.Errorf("%s is not in %s", want, manifest)
	}
	if got := descant(t, env, append(train, filepath.Join(dir, "third"), "--init-from", first, "--r", "4")...); got.code == 0 ||
		!strings.Contains(got.errors, "the adapter of init_from has 8") {
		t.Errorf("another rank ended with %d: %s", got.code, got.errors)
	}
}
