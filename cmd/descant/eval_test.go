package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
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

// TestEvalDataOptions reads rows by the options of a training, and holds them against what `validate` says of the same.
func TestEvalDataOptions(t *testing.T) {
	t.Parallel()
	environ := apart(t)
	rows := write(t, "rows.csv", "q,a\n你是谁？,我是助手。\n三加四等于几？,"+strings.Repeat("七", 60)+"\n")
	book := write(t, "book.txt", "你好。\n\n天空是蓝色的。\n")
	for _, c := range []struct {
		name string
		args []string
		want evalResult
	}{
		{"columns", []string{rows, "--columns", "instruction=q,output=a"}, evalResult{Rows: 2}},
		{"cut", []string{rows, "--columns", "instruction=q,output=a", "--max-length", "30"}, evalResult{Rows: 2, Truncated: 1}},
		{"keep_end", []string{rows, "--columns", "instruction=q,output=a", "--max-length", "30", "--truncation-mode", "keep_end"}, evalResult{Rows: 2, Truncated: 1}},
		{"drop", []string{rows, "--columns", "instruction=q,output=a", "--max-length", "30", "--truncation-mode", "drop"}, evalResult{Rows: 1, Dropped: 1}},
		{"full", []string{rows, "--columns", "instruction=q,output=a", "--loss-on", "full"}, evalResult{Rows: 2}},
		{"system", []string{rows, "--columns", "instruction=q,output=a", "--loss-on", "full", "--default-system", "你是诗人。"}, evalResult{Rows: 2}},
		{"text", []string{book}, evalResult{Rows: 2, Texts: 2}},
	} {
		var got evalResult
		args := append([]string{"eval", "--model", badModel, "--max-tokens", "1", "--json", "--dataset"}, c.args...)
		decode(t, environ, &got, args...)
		if got.Rows != c.want.Rows || got.Truncated != c.want.Truncated || got.Dropped != c.want.Dropped || got.Texts != c.want.Texts {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		var survey struct {
			Tokens struct {
				Trained int `json:"trained_tokens"`
			}
		}
		if !slices.Contains(c.args, "--loss-on") {
			c.args = append(c.args, "--loss-on", "completion")
		}
		decode(t, environ, &survey, append([]string{"validate", "--model", badModel, "--json"}, c.args...)...)
		if got.Tokens == 0 || got.Tokens != survey.Tokens.Trained {
			t.Errorf("%s: the loss is of %d tokens, a training's of %d", c.name, got.Tokens, survey.Tokens.Trained)
		}
		for _, answer := range got.Answers {
			if said := answer.Models[0]; said.Loss == nil || (said.Answer == nil) != (answer.Text != "") {
				t.Errorf("%s: row %+v", c.name, answer)
			}
		}
	}
	code, _, problems := cli(t, environ, "eval", "--model", badModel, "--dataset", rows, "--columns", "instruction=q,output=a", "--max-length", "30", "--truncation-mode", "error")
	if code != exitFailed || !strings.Contains(problems, "line 3") || !strings.Contains(problems, "more than max_length 30") {
		t.Errorf("exit code %d: %s", code, problems)
	}
	code, _, problems = cli(t, environ, "eval", "--model", badModel, "--max-tokens", "0", "--truncation-mode", "middle", "--columns", "outptu=a")
	if code != exitUsage || !strings.Contains(problems, "max_tokens") || !strings.Contains(problems, "truncation_mode") || !strings.Contains(problems, "outptu") {
		t.Errorf("exit code %d: %s", code, problems)
	}
}
