package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"descant/pkg/lora"
	"descant/pkg/model"
)

// newbornAdapter makes an adapter of the tiny base that changes nothing yet: every B is zero.
func newbornAdapter(t *testing.T, environ []string) string {
	t.Helper()
	var pulled struct {
		Dir string `json:"dir"`
	}
	decode(t, environ, &pulled, "models", "pull", "builtin:tiny", "--json")
	config, err := model.ReadConfig(pulled.Dir)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := lora.NewPlan(config, &lora.Config{R: 2, Alpha: 4, Targets: []string{"q_proj", "v_proj"}, BaseName: "builtin:tiny"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := (&lora.Adapter{Plan: plan, Flats: plan.Init(1)}).Save(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// decode runs a command line that must succeed and reads its JSON.
func decode(t *testing.T, environ []string, into any, args ...string) {
	t.Helper()
	code, out, problems := cli(t, environ, args...)
	if code != exitOK {
		t.Fatalf("%v: exit code %d: %s", args, code, problems)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("%v: %q: %v", args, out, err)
	}
}

// TestEval asks the base for its own answer, makes that the expected one of one row of two, and looks at base and adapter.
func TestEval(t *testing.T) {
	t.Parallel()
	environ := apart(t)
	adapter := newbornAdapter(t, environ)
	rows := write(t, "rows.jsonl", `{"instruction":"你是谁？","input":"","output":"x"}`+"\n")
	var first evalResult
	decode(t, environ, &first, "eval", "--model", "builtin:tiny", "--dataset", rows, "--max-tokens", "24", "--json")
	said := first.Answers[0].Models[0]
	if said.Answer == nil || *said.Answer == "" || said.Exact || said.Finish != "stop" {
		t.Fatalf("the base says %+v", said)
	}

	answer, err := json.Marshal(" " + *said.Answer + "\n")
	if err != nil {
		t.Fatal(err)
	}
	rows = write(t, "rows.jsonl", `{"instruction":"你是谁？","input":"","output":`+string(answer)+`}`+"\n"+
		`{"instruction":"你是谁？","input":"","output":"somebody else"}`+"\n"+`{"instruction":"三","input":"","output":"never read"}`+"\n")
	output := filepath.Join(t.TempDir(), "answers.jsonl")
	var got evalResult
	decode(t, environ, &got, "eval", "--adapter", adapter, "--dataset", rows, "--max-rows", "2", "--max-tokens", "24", "--output", output, "--json")
	if got.Rows != 2 || got.Base != "builtin:tiny" || len(got.Models) != 2 {
		t.Fatalf("result %+v", got)
	}
	base, mine := got.Models[0], got.Models[1]
	if base.Loss <= 0 || mine.Loss != base.Loss || base.Perplexity != math.Exp(base.Loss) {
		t.Errorf("base %+v, adapter %+v", base, mine)
	}
	for _, m := range got.Models {
		if m.Answered != 2 || m.Exact != 1 || m.Cut != 0 {
			t.Errorf("%s: %d answered, %d exact, %d cut, expected 2, 1 and 0", m.Name, m.Answered, m.Exact, m.Cut)
		}
	}
	text, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(strings.TrimSpace(string(text)), "\n"); len(lines) != 2 || !strings.Contains(lines[1], `"reference":"somebody else"`) {
		t.Errorf("the file holds %q", lines)
	}
}

// TestEvalRefuses has mistakes told before a model is loaded, all of them at once.
func TestEvalRefuses(t *testing.T) {
	t.Parallel()
	environ := apart(t)
	code, _, problems := cli(t, environ, "eval", "--model", "builtin:tiny", "--max-tokens", "0", "--limit-answers", "-2")
	if code != exitUsage || !strings.Contains(problems, "max_tokens") || !strings.Contains(problems, "limit_answers") {
		t.Errorf("exit code %d: %s", code, problems)
	}
	rows := write(t, "rows.jsonl", "{\"instruction\":\"a\",\"output\":\"b\"}\n{\"instruction\":1}\nnot a row\n")
	code, _, problems = cli(t, environ, "eval", "--model", "builtin:tiny", "--dataset", rows)
	if code != exitFailed || !strings.Contains(problems, "line 2") || !strings.Contains(problems, "line 3") {
		t.Errorf("exit code %d: %s", code, problems)
	}
}

// TestEvalTable shows losses, a shortened answer and what is not shown.
func TestEvalTable(t *testing.T) {
	t.Parallel()
	environ := apart(t)
	rows := write(t, "rows.jsonl", `{"instruction":"`+strings.Repeat("长", 500)+`","input":"","output":"x\u001b[2Jy"}`+"\n")
	code, out, problems := cli(t, environ, "eval", "--model", "builtin:tiny", "--dataset", rows, "--max-tokens", "3", "--max-length", "1024")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, problems)
	}
	for _, want := range []string{"PERPLEXITY", "base", "0 of 1", "row 1, line 1", strings.Repeat("长", shownCharacters) + "…", "x [2Jy"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
}
