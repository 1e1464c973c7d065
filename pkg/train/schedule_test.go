package train

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"descant/pkg/job"
)

// TestScheduleTable compares every step of every schedule with transformers' get_scheduler.
func TestScheduleTable(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "optim", "schedules.json"))
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		LearningRate float64 `json:"learning_rate"`
		Cases        []struct {
			Type   string              `json:"lr_scheduler_type"`
			Steps  int                 `json:"warmup_steps"`
			Ratio  float64             `json:"warmup_ratio"`
			Total  int                 `json:"total"`
			Kwargs job.SchedulerKwargs `json:"lr_scheduler_kwargs"`
			LR     []float64           `json:"lr"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(data, &table); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, c := range table.Cases {
		kinds[c.Type] = true
		training := job.DefaultTraining()
		training.LearningRate, training.LRSchedulerType, training.LRSchedulerKwargs = table.LearningRate, c.Type, c.Kwargs
		training.WarmupSteps, training.WarmupRatio = c.Steps, c.Ratio
		if problems := training.Validate(); len(problems) > 0 {
			t.Errorf("%s %s is refused: %v", c.Type, c.Kwargs, problems)
		}
		s, err := newSchedule(training, c.Total)
		if err != nil {
			t.Errorf("%s %s: %v", c.Type, c.Kwargs, err)
			continue
		}
		if len(c.LR) != c.Total {
			t.Fatalf("%s: the table has %d of %d steps", c.Type, len(c.LR), c.Total)
		}
		for i, want := range c.LR {
			if got := s.rate(i); math.Abs(got-want) > 1e-15*table.LearningRate {
				t.Errorf("%s %s warmup %d/%g: step %d of %d has rate %.17g, transformers %.17g", c.Type, c.Kwargs, c.Steps, c.Ratio, i, c.Total, got, want)
			}
		}
	}
	if len(kinds) != 6 {
		t.Errorf("the table has %d schedules, expected 6", len(kinds))
	}
}

// TestScheduleTooShort refuses a warmup_stable_decay that has no room for its parts.
func TestScheduleTooShort(t *testing.T) {
	t.Parallel()
	decay := 8
	training := job.Training{LRSchedulerType: job.SchedulerWSD, WarmupSteps: 3, LRSchedulerKwargs: job.SchedulerKwargs{NumDecaySteps: &decay}}
	if _, err := newSchedule(training, 10); err == nil || !strings.Contains(err.Error(), "more than all 10 steps") {
		t.Errorf("3 + 8 of 10 steps: %v", err)
	}
}
