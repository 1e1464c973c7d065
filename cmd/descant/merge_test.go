package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// parityCase is a base with an adapter that PEFT saved.
func parityCase(t *testing.T) (base, adapter string) {
	t.Helper()
	dir := filepath.Join(packageDir, "..", "..", "testdata", "parity", "qwen2-tied")
	return filepath.Join(dir, "base"), filepath.Join(dir, "adapter")
}

// apart is the environment of a command that touches nothing of this machine's user.
func apart(t *testing.T) []string {
	t.Helper()
	return []string{"DESCANT_DEVICE=go", "DESCANT_HUB_WORK_DIR=" + t.TempDir(), "DESCANT_HUB_CACHE_DIR=" + t.TempDir()}
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

func TestMerge(t *testing.T) {
	t.Parallel()
	base, adapter := parityCase(t)
	parent := t.TempDir()
	out := filepath.Join(parent, "merged")
	args := []string{"merge", adapter, "--model", base, "--output-dir", out, "--json"}
	code, text, problems := cli(t, apart(t), args...)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, problems)
	}
	var result mergeResult
	if err := json.Unmarshal([]byte(text), &result); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if !(result.MaxLogitDiff <= 1e-4) || result.Tensors == 0 || result.OutputDir != out {
		t.Errorf("result %+v", result)
	}
	if got, want := names(t, out), names(t, base); got != want {
		t.Errorf("the folder holds %s, the base %s", got, want)
	}

	code, _, problems = cli(t, apart(t), args...)
	if code != exitFailed || !strings.Contains(problems, "--force") {
		t.Errorf("a folder that exists: exit code %d: %s", code, problems)
	}
	if err := os.WriteFile(filepath.Join(out, "old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, problems = cli(t, apart(t), append(args, "--force")...); code != exitOK {
		t.Errorf("exit code %d: %s", code, problems)
	}
	if got, want := names(t, out), names(t, base); got != want {
		t.Errorf("after --force the folder holds %s, the base %s", got, want)
	}
	if got := names(t, parent); got != "merged" {
		t.Errorf("beside the folder there is %s", got)
	}
}

func TestMergeRefuses(t *testing.T) {
	t.Parallel()
	base, adapter := parityCase(t)
	pinned := t.TempDir()
	for _, name := range []string{"adapter_config.json", "adapter_model.safetensors"} {
		if err := copyFile(filepath.Join(adapter, name), filepath.Join(pinned, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(pinned, "manifest.json"), []byte(`{"format":1,"name":"a","base_digest":"sha256:other"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"another base":     {[]string{pinned, "--model", base}, "was made on a base with digest sha256:other"},
		"no adapter":       {[]string{base}, "is a whole model, not an adapter"},
		"no folder":        {[]string{"./nowhere"}, "there is no folder ./nowhere"},
		"no output folder": {[]string{adapter, "--model", base, "--output-dir", filepath.Join(pinned, "manifest.json")}, "output folder"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent := t.TempDir()
			args := append([]string{"merge", "--output-dir", filepath.Join(parent, "merged")}, test.args...)
			code, _, problems := cli(t, apart(t), args...)
			if code != exitFailed || !strings.Contains(problems, test.want) {
				t.Errorf("exit code %d: %s; want %q", code, problems, test.want)
			}
			if left := names(t, parent); left != "" {
				t.Errorf("%s was left behind", left)
			}
		})
	}
}
