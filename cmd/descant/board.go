package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"descant/pkg/bus"
	"descant/pkg/pb"
	"descant/pkg/report"
)

// liveBoard marks event files that are written while a training runs; the adapter's own, which knows all steps,
// takes their place.
const liveBoard = "live"

// board shows the events of a job, and writes those with numbers into an event file for TensorBoard.
type board struct {
	progress
	file *report.EventFile
}

// withBoard starts an event file in dir.
func withBoard(show progress, dir string) (*board, error) {
	now := time.Now()
	file, err := report.CreateEventFile(dir, report.EventFileName(now, liveBoard), now)
	if err != nil {
		return nil, err
	}
	return &board{progress: show, file: file}, nil
}

func (b *board) event(e *pb.Event) {
	b.progress.event(e)
	if b.file == nil {
		return
	}
	if err := b.write(e); err != nil {
		// The training is worth more than its picture: say it once and go on.
		b.note("warning: " + err.Error())
		b.stop()
	}
}

func (b *board) write(e *pb.Event) error {
	at := e.GetTime().AsTime()
	if s := e.GetStep(); s != nil && e.GetType() == bus.EventStep {
		p := report.Point{Loss: s.GetLoss(), LR: s.GetLr(), GradNorm: s.GetGradNorm(), TokensPerSecond: s.GetTokensPerSecond(), Epoch: s.GetEpoch()}
		return b.file.Write(at, int(s.GetStep()), p.Scalars())
	}
	if e := e.GetEvaluation(); e != nil {
		return b.file.Write(at, int(e.GetStep()), report.Eval{Loss: e.GetLoss()}.Scalars())
	}
	return nil
}

func (b *board) end() {
	b.stop()
	b.progress.end()
}

// stop closes the file.
func (b *board) stop() {
	if b.file == nil {
		return
	}
	if err := b.file.Close(); err != nil {
		b.note("warning: " + err.Error())
	}
	b.file = nil
}

// dropBoards removes the event files that earlier trainings left in a folder, so that TensorBoard shows one run.
func dropBoards(dir string) error {
	for _, suffix := range []string{liveBoard, "ft-*"} {
		found, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*."+suffix))
		if err != nil {
			return fmt.Errorf("tensorboard: %w", err)
		}
		for _, path := range found {
			if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("tensorboard: %w", err)
			}
		}
	}
	return nil
}
