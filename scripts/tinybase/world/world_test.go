package world

import (
	"reflect"
	"strings"
	"testing"
)

func TestSameSeedGivesSameRows(t *testing.T) {
	t.Parallel()
	a, b := New(7), New(7)
	for range 500 {
		if x, y := a.Train(Balanced), b.Train(Balanced); !reflect.DeepEqual(x, y) {
			t.Fatalf("two generators with one seed differ:\n%+v\n%+v", x, y)
		}
	}
}

func TestHeldOutIsNeverTrained(t *testing.T) {
	t.Parallel()
	heldOut := map[string]bool{}
	sums := map[string]bool{}
	for _, row := range New(2).HeldOut(50) {
		heldOut[row.Question] = true
		if row.key != "" {
			sums[row.key] = true
		}
	}
	if len(heldOut) < 490 {
		t.Fatalf("only %d different held-out questions", len(heldOut))
	}
	g := New(1)
	for range 60_000 {
		row := g.Train(Balanced)
		if heldOut[row.Question] || row.key != "" && sums[row.key] {
			t.Fatalf("a held-out question was drawn for training: %+v", row)
		}
	}
}

func TestEveryQuestionHasOneAnswer(t *testing.T) {
	t.Parallel()
	answers := map[string]string{}
	g := New(3)
	for range 60_000 {
		row := g.Train(Balanced)
		if row.Category == Story {
			continue
		}
		if strings.ContainsAny(row.Question+row.Answer, "{}") && row.Category != Format {
			t.Fatalf("an unfilled slot: %+v", row)
		}
		if before, known := answers[row.Question]; known && before != row.Answer {
			t.Fatalf("%q has two answers: %q and %q", row.Question, before, row.Answer)
		}
		answers[row.Question] = row.Answer
	}
}
