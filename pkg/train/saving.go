package train

import (
	"time"

	"descant/pkg/job"
)

// saving says when a checkpoint is due: at every multiple of a number of steps, and when the last one was written too
// long ago, whatever it was written for.
type saving struct {
	steps int
	after time.Duration
	now   func() time.Time

	at   int    // step of the last checkpoint, -1 when there is none
	dir  string // its folder
	last time.Time
}

func newSaving(t job.Training, now func() time.Time) saving {
	s := saving{steps: t.SaveSteps, after: time.Duration(t.SaveMinutes * float64(time.Minute)), now: now}
	s.saved(-1, "")
	return s
}

// due tells whether a checkpoint is due after a step.
func (s *saving) due(step int) bool {
	return s.steps > 0 && step%s.steps == 0 || s.after > 0 && s.now().Sub(s.last) >= s.after
}

// saved keeps the books of a checkpoint.
func (s *saving) saved(step int, dir string) { s.at, s.dir, s.last = step, dir, s.now() }
