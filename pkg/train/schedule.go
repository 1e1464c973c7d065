package train

import (
	"math"

	"descant/pkg/job"
)

// schedule gives the learning rate of every step (transformers/optimization.py).
type schedule struct {
	kind   string
	peak   float64
	warmup int
	total  int
}

// newSchedule takes warmup_steps where it is set, else warmup_ratio of all steps, rounded up.
func newSchedule(t job.Training, total int) schedule {
	s := schedule{kind: t.LRSchedulerType, peak: t.LearningRate, warmup: t.WarmupSteps, total: total}
	if s.warmup == 0 {
		s.warmup = int(math.Ceil(float64(total) * t.WarmupRatio))
	}
	return s
}

// rate is the learning rate of a step that counts from 0: during the warmup it rises from 0, then it stays, or
// falls to 0 as a line or half a cosine.
func (s schedule) rate(step int) float64 {
	if step < s.warmup {
		return s.peak * float64(step) / float64(max(1, s.warmup))
	}
	progress := float64(step-s.warmup) / float64(max(1, s.total-s.warmup))
	switch s.kind {
	case job.SchedulerLinear:
		return s.peak * max(0, 1-progress)
	case job.SchedulerCosine:
		return s.peak * max(0, 0.5*(1+math.Cos(math.Pi*progress)))
	default:
		return s.peak
	}
}
