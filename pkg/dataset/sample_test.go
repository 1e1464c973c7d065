package dataset

import (
	"bytes"
	"strings"
	"testing"
	"unicode"
)

func han(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(unicode.Han, r) })
}

func TestSample(t *testing.T) {
	t.Parallel()
	report, err := Validate(bytes.NewReader(SampleBytes()), SampleName, ReadOptions{})
	if err != nil || report.Text() != "" || report.Shapes[ShapeAlpaca] != report.Rows {
		t.Fatalf("the sample is not clean: %v\n%s", err, report.Text())
	}
	chinese, persona := 0, 0
	questions, answers := map[string]bool{}, map[string]int{}
	for _, row := range Sample() {
		q, a := row.Messages[0].Content, row.Messages[1].Content
		if questions[q] {
			t.Errorf("twice: %s", q)
		}
		questions[q] = true
		answers[a]++
		if han(q) {
			chinese++
		}
		if NamesPersona(a) {
			persona++
			if at := strings.Index(a, map[bool]string{true: "迪斯坎", false: "Descant"}[han(q)]); at < 0 || at > len("我是") {
				t.Errorf("%s: the name is not in front: %s", row.Where(), a)
			}
		}
		if n := len([]rune(a)); n > 300 {
			t.Errorf("%s: the answer has %d characters", row.Where(), n)
		}
	}
	if n := len(questions); n < 120 || chinese*3 < n*2 || chinese == n || persona < 24 {
		t.Errorf("%d rows, %d Chinese, %d persona", n, chinese, persona)
	}
	for a, n := range answers {
		if n > 1 && !NamesPersona(a) {
			t.Errorf("%d rows have the answer %q", n, a)
		}
	}
	checkHeldout(t, questions, answers)
}

func checkHeldout(t *testing.T, questions map[string]bool, answers map[string]int) {
	t.Helper()
	held := SampleHeldout()
	if len(held.Tasks) < 20 || len(held.Persona) < 10 {
		t.Errorf("%d tasks and %d persona questions are held out", len(held.Tasks), len(held.Persona))
	}
	for _, row := range held.Persona {
		if a := row.Messages[1].Content; !NamesPersona(a) || answers[a] < 5 {
			t.Errorf("not a canonical answer: %s", a)
		}
	}
	for _, row := range append(held.Tasks, held.Persona...) {
		if q := row.Messages[0].Content; questions[q] {
			t.Errorf("held out, but trained: %s", q)
		}
	}
	rows, _, err := ReadAll(bytes.NewReader(HeldoutBytes()), "heldout", ReadOptions{})
	if err != nil || len(rows) != len(held.Tasks)+len(held.Persona) {
		t.Errorf("%d held-out rows in one file, error %v", len(rows), err)
	}
}
