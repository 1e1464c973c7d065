package main

import (
	"encoding/json"
	"strings"
	"testing"

	"descant/pkg/dataset"
	"descant/services/tokenizer"
)

const fourRows = `{"instruction":"你好","output":"你好！"}
{"instruction":"Name a colour.","output":"Red."}
{"instruction":"你好","output":"你好！"}
{"instruction":"Name a fruit.","output":"A plum, an apple, a pear, a quince, a cherry and a peach."}
`

func TestValidateSaysWhatIsInTheRows(t *testing.T) {
	t.Parallel()
	file, eval := write(t, "rows.jsonl", fourRows), write(t, "eval.jsonl", `{"instruction":"name a COLOUR","output":"red"}`)
	code, out, problems := cli(t, nil, "validate", file, "--model", "builtin:tiny", "--max_length", "30", "--eval", eval)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, problems)
	}
	for _, want := range []string{
		"4 rows can be trained", "shapes       alpaca 4", "languages    en 2, zh 2", "loss_on full", "longer than max_length 30: lines 4",
		"1 of the 1 rows of eval.jsonl", "2 = eval.jsonl 1", "1 rows repeat an earlier row; they are kept: 3 (= 1)",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
	code, out, problems = cli(t, nil, "datasets", "validate", file, "--json")
	var survey dataset.Survey
	if err := json.Unmarshal([]byte(out), &survey); code != exitOK || err != nil || survey.Report.Rows != 4 || survey.Tokens != nil {
		t.Errorf("exit code %d, %v: %s%s", code, err, out, problems)
	}
}

func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	bad := write(t, "bad.jsonl", fourRows+"{\"instruction\":\"a\"}\n{\"instruction\":1,\"output\":\"b\"}\n")
	for name, test := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"bad rows":       {[]string{"validate", bad}, exitFailed, []string{"line 5", `"output" is missing`, "line 6", `"instruction"`}},
		"first problem":  {[]string{"validate", bad, "--max-problems", "1"}, exitFailed, []string{"2 problems in 2 rows, lines 5-6", "line 5", "and 1 more"}},
		"bad evaluation": {[]string{"validate", "builtin:sample", "--eval", bad}, exitFailed, []string{"bad.jsonl", "line 5"}},
		"no file":        {[]string{"validate", "nowhere.jsonl"}, exitFailed, []string{"nowhere.jsonl", "give the path"}},
		"a folder":       {[]string{"validate", t.TempDir()}, exitFailed, []string{"is a folder"}},
		"bad flag":       {[]string{"validate", "builtin:sample", "--loss-on", "answers"}, exitUsage, []string{"loss_on", "completion"}},
		"no such row":    {[]string{"preview", "builtin:sample", "--row", "1000", "--model", "builtin:tiny"}, exitFailed, []string{"no row 1000", "162"}},
		"row 0":          {[]string{"preview", "builtin:sample", "--row", "0"}, exitUsage, []string{"count from 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, _, problems := cli(t, nil, test.args...)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, want := range test.want {
				if !strings.Contains(problems, want) {
					t.Errorf("%q is not in:\n%s", want, problems)
				}
			}
		})
	}
	_, out, _ := cli(t, nil, "validate", bad, "--json")
	var refusal struct {
		Error struct {
			Dataset dataset.ValidationError
		}
	}
	if err := json.Unmarshal([]byte(out), &refusal); err != nil || len(refusal.Error.Dataset.Problems) != 2 || refusal.Error.Dataset.Problems[1].Field != "instruction" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestPreviewShowsTokens(t *testing.T) {
	t.Parallel()
	file := write(t, "rows.jsonl", fourRows)
	args := []string{"preview", file, "--row", "2", "--model", "builtin:tiny", "--loss-on", "completion"}
	code, out, problems := cli(t, nil, append(args, "--json")...)
	var p preview
	if err := json.Unmarshal([]byte(out), &p); code != exitOK || err != nil {
		t.Fatalf("exit code %d, %v: %s", code, err, problems)
	}
	var trained, all strings.Builder
	for _, token := range p.Tokens {
		all.WriteString(token.Text)
		if token.Use == dataset.UseTrained {
			trained.WriteString(token.Text)
		}
	}
	if all.String() != p.Text || trained.String() != "Red.<|im_end|>" || p.Line != 2 {
		t.Errorf("the row is %q, trained is %q, line %d", all.String(), trained.String(), p.Line)
	}
	_, out, _ = cli(t, nil, append(args, "--max-length", "12")...)
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != len(p.Tokens)+1 || !strings.Contains(lines[0], "cut (max_length 12)") ||
		!strings.HasPrefix(strings.TrimSpace(lines[len(lines)-1]), "198 x ") {
		t.Errorf("the table is\n%s", out)
	}
}

func TestPreviewKeepsTheTerminal(t *testing.T) {
	t.Parallel()
	text := colours([]tokenizer.PreviewToken{{Text: "a\x1b]0;x\a\n", Use: dataset.UseTrained}, {Text: "b", Use: dataset.UseCut}})
	if want := "\x1b[30;42ma\uFFFD]0;x\uFFFD↵\x1b[0m\n\x1b[30;101mb\x1b[0m"; text != want {
		t.Errorf("%q, want %q", text, want)
	}
}
