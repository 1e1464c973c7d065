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

// TestTinyBaseAnswersAsItsCardSays asks all held-out questions: enough answers are right, and as many as the card
// says. Another processor may choose another token where two are nearly equal.
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
	result, err := examine(context.Background(), options{out: dir, each: 50, device: "auto"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range result.lines() {
		t.Log(line)
	}
	if err := result.verdict(); err != nil {
		t.Error(err)
	}
	if asked != result.total.asked || abs(right-result.total.right) > asked/50 {
		t.Errorf("%s exact answers, the card says %d of %d", result.total, right, asked)
	}
}

func abs(n int) int { return max(n, -n) }
