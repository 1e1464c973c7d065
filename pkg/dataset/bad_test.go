package dataset

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"descant/pkg/dataset/datasettest"
)

// badSays are words that the message or the report about a file must hold, by the number in front of its name.
var badSays = map[string][]string{
	"01": {"empty"}, "02": {"no row"}, "07": {"line 4", "incomplete", "cut off"}, "08": {"a number", "a string", "a list", "null", "a boolean"},
	"09": {`"output" is missing`, `"instruction"`, `rename "response"`}, "12": {"a number", "a list", "an object", "a boolean"},
	"14": {"null"}, "15": {`"id"`, `"category"`, `"score"`, `"source"`}, "17": {`"instruction"`, `"output"`, "twice"}, "18": {"offset"},
	"19": {"UTF-8", "GBK", "iconv"}, "20": {"UTF-16"}, "21": {"surrogate"}, "26": {"empty"}, "27": {"no row"}, "31": {"row 3", "cut off"},
	"33": {"gzip"}, "34": {"Parquet"}, "35": {"web page"}, "36": {"LFS", "git lfs pull"}, "37": {"instruction", "output", `"error"`, `"code"`},
	"40": {"line 2", "line 3", "NUL"}, "42": {"Python"}, "46": {"Python"}, "47": {`write it as "output"`, `"Output"`}, "49": {"turn 2", "robot"},
	"50": {"CSV"}, "52": {"CR"}, "53": {"repeat"}, "54": {"500"}, "55": {"nested"},
}

// badTwins are files that hold the same rows as 06_no_final_newline.jsonl, their clean twin.
var badTwins = []string{"03", "04", "05", "28", "29", "30", "32", "33", "45", "52", "56"}

func loadBad(t *testing.T) (string, []datasettest.BadCase) {
	t.Helper()
	return datasettest.BadCases(t, filepath.Join("testdata", "bad"))
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	dir, cases := loadBad(t)
	for _, c := range cases {
		t.Run(c.File, func(t *testing.T) {
			t.Parallel()
			rows, report, err := ReadFile(filepath.Join(dir, c.File), ReadOptions{})
			var bad *ValidationError
			if err != nil && !errors.As(err, &bad) {
				t.Fatalf("not a ValidationError: %v", err)
			}
			if c.Outcome == "accept" && err != nil || c.Outcome == "reject" && err == nil {
				t.Fatalf("want %s, got error %v", c.Outcome, err)
			}
			checkRows(t, c, len(rows), bad, report)
			if bad != nil {
				checkRefusal(t, c, bad)
			}
			text := report.Text()
			if err != nil {
				text += err.Error()
			}
			for _, word := range append(slices.Clone(c.Says), badSays[c.File[:2]]...) {
				if !strings.Contains(text, word) {
					t.Errorf("%q is not in:\n%s", word, text)
				}
			}
		})
	}
}

// checkRows holds the number of good rows, and the lines of rows that an accepted file leaves out.
func checkRows(t *testing.T, c datasettest.BadCase, got int, bad *ValidationError, report *Report) {
	t.Helper()
	if c.Rows != nil && (bad == nil || c.Outcome == "reject") && got != *c.Rows {
		t.Errorf("%d good rows, want %d", got, *c.Rows)
	}
	if bad == nil && c.Outcome == "either" && report.LeftOut.Count > 0 {
		for _, line := range c.Lines {
			if !report.LeftOut.Lines.Has(line) {
				t.Errorf("line %d was dropped in silence", line)
			}
		}
	}
}

// checkRefusal holds what every refusal must be: all lines and fields, bounded, and the same as JSON.
func checkRefusal(t *testing.T, c datasettest.BadCase, bad *ValidationError) {
	t.Helper()
	for _, line := range c.Lines {
		if !bad.Lines.Has(line) {
			t.Errorf("line %d is not named in:\n%v", line, bad)
		}
	}
	for _, line := range bad.Lines {
		if len(c.Lines) > 0 && (!slices.Contains(c.Lines, line.From) || !slices.Contains(c.Lines, line.To)) {
			t.Errorf("lines %v are named, want %v", bad.Lines, c.Lines)
		}
	}
	for _, field := range c.Fields {
		if !slices.ContainsFunc(bad.Problems, func(p Problem) bool { return p.Field == field }) {
			t.Errorf("field %s is not named in:\n%v", field, bad)
		}
	}
	if text := bad.Error(); len(text) > 8<<10 || strings.Count(text, "\n") > 25 || !strings.Contains(text, c.File) {
		t.Errorf("unbounded or without the name of the file:\n%s", text)
	}
	for _, p := range bad.Problems {
		if p.Hint == "" && p.Code != CodeJSON {
			t.Errorf("no next step: %s", p)
		}
	}
	data, err := json.Marshal(bad)
	var back ValidationError
	if err != nil || json.Unmarshal(data, &back) != nil || !reflect.DeepEqual(&back, bad) {
		t.Errorf("the JSON of the error differs: %s (%v)", data, err)
	}
}

func TestBadInputTwins(t *testing.T) {
	t.Parallel()
	dir, cases := loadBad(t)
	byNumber := map[string]string{}
	for _, c := range cases {
		byNumber[c.File[:2]] = c.File
	}
	clean := messagesOf(t, filepath.Join(dir, byNumber["06"]))
	for _, number := range badTwins {
		if byNumber[number] == "" {
			continue
		}
		if got := messagesOf(t, filepath.Join(dir, byNumber[number])); got != clean {
			t.Errorf("%s holds other rows than its clean twin:\n%s", byNumber[number], got)
		}
	}
}

func messagesOf(t *testing.T, path string) string {
	t.Helper()
	rows, _, err := ReadFile(path, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&b, "%q\n", row.Messages)
	}
	return b.String()
}
