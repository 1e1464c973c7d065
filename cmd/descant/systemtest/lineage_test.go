package systemtest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"descant/pkg/blob"
)

// TestAdaptersInOutAndVerified brings an adapter that PEFT saved in, has it served, brings it out again, and derives
// the lineage of one that was trained here.
func TestAdaptersInOutAndVerified(t *testing.T) {
	t.Parallel()
	s := OneProcess(t)
	env := append(small(t), s.Env()...)
	parity, err := filepath.Abs(filepath.Join("..", "..", "..", "testdata", "parity", "qwen2-tied"))
	if err != nil {
		t.Fatal(err)
	}
	base, adapter := filepath.Join(s.Base, "tied"), filepath.Join(parity, "adapter")
	if err := os.CopyFS(base, os.DirFS(filepath.Join(parity, "base"))); err != nil {
		t.Fatal(err)
	}

	for range 2 { // the same folder again is the same version
		pushed := ok(t, env, "adapters", "push", adapter, "--name", "imported", "--model", base, "--license", "apache-2.0", "--json")
		var result struct{ Adapter string }
		if err := json.Unmarshal([]byte(pushed.out), &result); err != nil || result.Adapter != "imported@1" {
			t.Fatalf("push said %q: %v", pushed.out, err)
		}
	}
	answer := s.Ask(t, s.Raw(t), "inference.chat", `{"model":"imported","prompt":"hello","max_tokens":4,"temperature":0}`)
	if last := answer.Last(); last.GetError() != nil || last.GetModel() != "imported@1" || last.GetUsage().GetCompletionTokens() == 0 {
		t.Errorf("the imported adapter answered %v", last)
	}
	out := filepath.Join(t.TempDir(), "pulled")
	ok(t, env, "adapters", "pull", "imported@1", "--output-dir", out)
	for _, name := range []string{"adapter_config.json", "adapter_model.safetensors"} {
		was, err := os.ReadFile(filepath.Join(adapter, name))
		if err != nil {
			t.Fatal(err)
		}
		if is, err := os.ReadFile(filepath.Join(out, name)); !bytes.Equal(is, was) {
			t.Errorf("%s has changed on its way: %v", name, err)
		}
	}
	card, err := os.ReadFile(filepath.Join(out, "README.md"))
	for _, want := range []string{"---\nbase_model: " + base, "library_name: peft\n", "license: apache-2.0\n", "tags:\n- lora\n"} {
		if err != nil || !strings.Contains(string(card), want) {
			t.Errorf("the model card lacks %q: %v\n%s", want, err, card)
		}
	}
	// What came from a registry keeps its lineage, unless its files are others.
	ok(t, env, "adapters", "push", out, "--name", "again")
	if err := os.WriteFile(filepath.Join(out, "adapter_config.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := descant(t, env, "adapters", "push", out, "--name", "again"); r.code != 1 {
		t.Errorf("an altered adapter was pushed: %s", r.out)
	}

	heldout := filepath.Join(t.TempDir(), "heldout.jsonl")
	if err := os.WriteFile(heldout, []byte(`{"instruction":"再见","output":"bye"}`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	ok(t, env, "datasets", "push", heldout)
	// A seed that float64 does not hold must come through the manifest.
	ok(t, env, "finetune", "--model", s.Base, "--name", "trained", "--max-steps", "2", "--max-length", "64", "--seed", "9007199254740993",
		"--eval-dataset", "heldout")
	first := verifyChecks(t, ok(t, env, "verify", "trained@1", "--retrain", "--json").out)
	for _, what := range []string{"manifest", "file adapter_model.safetensors", "spec", "job", "base", "tokenizer", "template", "dataset builtin:sample",
		"eval_dataset heldout", "tokenized rows", "tokenized eval rows", "retrained weights"} {
		if first[what] != "ok" {
			t.Errorf("%s is %q", what, first[what])
		}
	}
	ok(t, env, "finetune", "--model", s.Base, "--name", "further", "--init-from", "trained@1", "--max-steps", "1", "--max-length", "64")
	parent := "parent trained@" + manifestDigest(t, s, "trained")
	if got := verifyChecks(t, ok(t, env, "verify", "further", "--retrain", "--json").out); got[parent] != "ok" || got["retrained weights"] != "ok" {
		t.Errorf("checks of an adapter that went on from another: %v", got)
	}
	if got := verifyChecks(t, ok(t, env, "verify", "imported", "--json").out); got["base"] != "ok" || got["spec"] != "not at hand" {
		t.Errorf("checks of the imported adapter: %v", got)
	}
	found, err := s.Registry.Resolve(t.Context(), "trained")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := s.Registry.Manifest(t.Context(), found.Version)
	if err != nil {
		t.Fatal(err)
	}
	key, err := blob.ContentKey(manifest.GetFiles()[1].GetDigest())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Objects.Put(t.Context(), key, strings.NewReader("bad"), 3); err != nil {
		t.Fatal(err)
	}
	r := descant(t, env, "verify", "trained", "--json")
	if got := verifyChecks(t, r.out); r.code != 1 || got["file "+manifest.GetFiles()[1].GetName()] != "differs" || got["manifest"] != "ok" {
		t.Errorf("exit code %d, checks %v", r.code, got)
	}
}

func manifestDigest(t *testing.T, s *System, ref string) string {
	t.Helper()
	found, err := s.Registry.Resolve(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	return found.Version.GetDigest()
}

// verifyChecks is what `descant verify --json` found, by what it looked at.
func verifyChecks(t *testing.T, text string) map[string]string {
	t.Helper()
	var report struct {
		Checks []struct{ What, State string }
	}
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	checks := map[string]string{}
	for _, c := range report.Checks {
		checks[c.What] = c.State
	}
	return checks
}
