package train

import (
	"fmt"
	"math"

	"descant/pkg/job"
)

// schedule gives the learning rate of every step, as transformers' get_scheduler does (transformers/optimization.py);
// every formula keeps the order of its operations.
type schedule struct {
	kind   string
	peak   float64
	warmup int
	total  int

	cycles float64 // waves of a cosine
	least  float64 // smallest rate as a share of the peak
	// Of warmup_stable_decay:
	stable, decay int
	rise, fall    string
}

// newSchedule takes warmup_steps where it is set, else warmup_ratio of all steps, rounded up.
func newSchedule(t job.Training, total int) (schedule, error) {
	k := t.LRSchedulerKwargs
	s := schedule{kind: t.LRSchedulerType, peak: t.LearningRate, warmup: t.WarmupSteps, total: total, cycles: 0.5,
		rise: job.ShapeLinear, fall: job.ShapeCosine}
	if s.warmup == 0 {
		s.warmup = int(math.Ceil(float64(total) * t.WarmupRatio))
	}
	if k.NumCycles != nil {
		s.cycles = *k.NumCycles
	}
	switch {
	case k.MinLR != nil:
		s.least = *k.MinLR / s.peak
	case k.MinLRRate != nil:
		s.least = *k.MinLRRate
	case k.MinLRRatio != nil:
		s.least = *k.MinLRRatio
	}
	if s.kind != job.SchedulerWSD {
		return s, nil
	}
	if k.WarmupType != "" {
		s.rise = k.WarmupType
	}
	if k.DecayType != "" {
		s.fall = k.DecayType
	}
	s.decay = *k.NumDecaySteps
	s.stable = total - s.warmup - s.decay
	if k.NumStableSteps != nil {
		s.stable = *k.NumStableSteps
	} else if s.stable < 0 {
		return s, fmt.Errorf("%d warmup steps and num_decay_steps %d are more than all %d steps: set fewer", s.warmup, s.decay, total)
	}
	return s, nil
}

// rate is the learning rate of a step that counts from 0.
func (s schedule) rate(step int) float64 { return s.peak * s.factor(step) }

// factor is the share of the peak.
func (s schedule) factor(step int) float64 {
	switch {
	case s.kind == job.SchedulerConstant:
		return 1
	case s.kind == job.SchedulerWSD:
		return s.stages(step)
	case step < s.warmup:
		return float64(step) / float64(max(1, s.warmup))
	}
	left := float64(max(1, s.total-s.warmup))
	switch s.kind {
	case job.SchedulerLinear:
		return max(0, float64(s.total-step)/left)
	case job.SchedulerCosine, job.SchedulerCosineMinLR:
		return max(0, s.scaled(0.5*(1+math.Cos(math.Pi*s.cycles*2*(float64(step-s.warmup)/left)))))
	}
	return 1 // constant_with_warmup
}

// stages are rise, peak and fall of warmup_stable_decay.
func (s schedule) stages(step int) float64 {
	at := step - s.warmup
	switch {
	case at < 0:
		progress := float64(step) / float64(max(1, s.warmup))
		switch s.rise {
		case job.ShapeCosine:
			progress = 0.5 * (1 - math.Cos(math.Pi*progress))
		case job.Shape1Sqrt:
			progress = 1 - math.Sqrt(1-progress)
		}
		return max(0, s.scaled(progress))
	case at < s.stable:
		return 1
	case at >= s.stable+s.decay:
		return s.least
	}
	progress := float64(at-s.stable) / float64(max(1, s.decay))
	switch s.fall {
	case job.ShapeCosine:
		progress = 0.5 * (1 + math.Cos(math.Pi*s.cycles*2*progress))
	case job.Shape1Sqrt:
		progress = 1 - math.Sqrt(progress)
	default:
		progress = 1 - progress
	}
	return max(0, s.scaled(progress))
}

// scaled squeezes a factor from 0 to 1 into one from the least to 1.
func (s schedule) scaled(factor float64) float64 { return factor*(1-s.least) + s.least }
