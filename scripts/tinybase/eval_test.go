package main

import (
	"context"
	"testing"
)

// TestTinyBaseAnswers asks 60 of the held-out questions; `tinybase eval` asks all.
func TestTinyBaseAnswers(t *testing.T) {
	t.Parallel()
	result, err := examine(context.Background(), options{out: "../../models/tiny", each: 6, device: "auto"})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range result.lines() {
		t.Log(line)
	}
	if err := result.verdict(); err != nil {
		t.Error(err)
	}
}
