package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// cardTotal is the line of the model card with the score over all questions.
var cardTotal = regexp.MustCompile(`\| all \| (\d+) of (\d+) `)

// TestTinyBaseAnswersAsItsCardSays asks 100 of the held-out questions; `tinybase eval` asks all of them and holds
// the result against the pass mark of the recipe.
func TestTinyBaseAnswersAsItsCardSays(t *testing.T) {
	t.Parallel()
	const dir = "../../models/tiny"
	card, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	total := cardTotal.FindSubmatch(card)
	if total == nil {
		t.Fatal("the model card gives no score")
	}
	right, _ := strconv.Atoi(string(total[1]))
	asked, _ := strconv.Atoi(string(total[2]))
	result, err := examine(context.Background(), options{out: dir, each: 10, device: "auto"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range result.lines() {
		t.Log(line)
	}
	// A sample of 100 lies within 10 points of the whole.
	said := float64(right) / float64(asked)
	if got := float64(result.total.right) / float64(result.total.asked); got < said-0.10 || got > said+0.10 {
		t.Errorf("%s exact answers, the card says %.1f %%", result.total, 100*said)
	}
}
