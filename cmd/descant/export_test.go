package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestExportGGUF(t *testing.T) {
	t.Parallel()
	base, adapter := parityCase(t)
	parent := t.TempDir()
	out := filepath.Join(parent, "gguf")
	args := []string{"export", "gguf", adapter, "--model", base, "--base", "--output-dir", out, "--json"}
	code, text, problems := cli(t, apart(t), args...)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, problems)
	}
	var result exportResult
	if err := json.Unmarshal([]byte(text), &result); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if len(result.Files) != 3 || result.Files[ggufAdapterFile] == 0 || result.Template != "chatml" {
		t.Errorf("result %+v", result)
	}
	if got := names(t, out); got != "Modelfile adapter.gguf base.gguf" {
		t.Errorf("the folder holds %s", got)
	}
	modelfile, err := os.ReadFile(filepath.Join(out, modelfileName))
	if err != nil || !strings.HasPrefix(string(modelfile), "FROM ./base.gguf\nADAPTER ./adapter.gguf\nTEMPLATE ") {
		t.Errorf("Modelfile %q, %v", modelfile, err)
	}
	if code, _, problems = cli(t, apart(t), args...); code != exitFailed || !strings.Contains(problems, "--force") {
		t.Errorf("a folder that exists: exit code %d: %s", code, problems)
	}
	code, _, problems = cli(t, apart(t), "export", "gguf", adapter, "--model", base, "--from", "some:model", "--output-dir", out, "--force")
	modelfile, _ = os.ReadFile(filepath.Join(out, modelfileName))
	if code != exitOK || !strings.HasPrefix(string(modelfile), "FROM some:model\n") || names(t, parent) != "gguf" {
		t.Errorf("exit code %d: %s\n%s", code, problems, modelfile)
	}
	if code, _, problems = cli(t, apart(t), "export", "gguf"); code != exitUsage || !strings.Contains(problems, "nothing to export") {
		t.Errorf("exit code %d: %s", code, problems)
	}
}
