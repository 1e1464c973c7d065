package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"descant/pkg/bus"
	"descant/pkg/pb"
)

// TestBoard writes a step while the plain display shows it, then drops the file and keeps what is not ours.
func TestBoard(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var shown bytes.Buffer
	b, err := withBoard(&plainProgress{out: &shown}, dir)
	if err != nil {
		t.Fatal(err)
	}
	before := boardSize(t, dir)
	b.event(&pb.Event{Type: bus.EventLog, Level: "info", Message: "hello"})
	if boardSize(t, dir) != before {
		t.Error("a log event was written")
	}
	b.event(&pb.Event{Type: bus.EventStep, Step: &pb.Step{Step: 1, Total: 2, Loss: 3}})
	if boardSize(t, dir) <= before {
		t.Error("a step was not written at once")
	}
	before = boardSize(t, dir)
	b.event(&pb.Event{Type: bus.EventEval, Evaluation: &pb.Evaluation{Step: 1, Loss: 2, Rows: 3, BaseLoss: 4, BestLoss: 2, BestStep: 1}})
	if boardSize(t, dir) <= before {
		t.Error("an evaluation was not written")
	}
	b.end()
	if want := "hello\nstep 1/2  loss 3.0000  lr 0.00e+00  grad 0.000  0 tok/s  eta 0s\n" +
		"evaluation of 3 rows: loss 2.0000, perplexity 7.39, after step 1 (base 4.0000, best 2.0000 after step 1)\n"; shown.String() != want {
		t.Errorf("shown %q, expected %q", shown.String(), want)
	}

	foreign := filepath.Join(dir, "events.out.tfevents.1.host")
	for _, path := range []string{foreign, filepath.Join(dir, "events.out.tfevents.1.ft-0123")} {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := dropBoards(dir); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 1 || left[0] != foreign {
		t.Errorf("left are %v, %v", left, err)
	}
}

// boardSize is the size of the one event file in dir.
func boardSize(t *testing.T, dir string) int64 {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*."+liveBoard))
	if err != nil || len(found) != 1 {
		t.Fatalf("event files %v, %v", found, err)
	}
	info, err := os.Stat(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
