package train

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"descant/pkg/job"
	"descant/pkg/lora"
	"descant/pkg/model"
)

// evaluated adds rows for evaluation to the small settings.
func evaluated(t *testing.T, steps, every int) (Config, *[]Evaluation) {
	t.Helper()
	cfg := settings(t, steps)
	all := sentences(14)
	cfg.Rows, cfg.EvalRows = all[:10], all[10:]
	cfg.Training.EvalSteps = every
	list := new([]Evaluation)
	cfg.OnEvaluation = func(e Evaluation) { *list = append(*list, e) }
	return cfg, list
}

// TestEvaluation looks at when evaluations happen, and that they know neither dropout nor noise: with a learning rate
// of next to nothing the adapter stays the base.
func TestEvaluation(t *testing.T) {
	t.Parallel()
	for _, method := range []string{job.MethodLora, job.MethodFull} {
		cfg, list := evaluated(t, 5, 2)
		cfg.Training.Method, cfg.Training.NEFTuneAlpha, cfg.Training.LearningRate = method, 10, 1e-12
		if method == job.MethodLora {
			cfg.Training.LoraDropout = 0.3
		}
		result := mustRun(t, cfg)
		var steps []int
		for _, e := range *list {
			steps = append(steps, e.Step)
			if math.Abs(e.Loss-e.Base) > 1e-6 || e.Base < 1 || e.Rows != 4 || e.Tokens != 30 {
				t.Errorf("%s: step %d: loss %g, base %g, %d rows, %d tokens", method, e.Step, e.Loss, e.Base, e.Rows, e.Tokens)
			}
		}
		if !slices.Equal(steps, []int{0, 2, 4, 5}) {
			t.Errorf("%s: evaluations after steps %v, expected the base, 2, 4 and the last", method, steps)
		}
		if result.Evaluation == nil || result.Evaluation.Step != 5 {
			t.Errorf("%s: result %+v", method, result.Evaluation)
		}
	}
}

// TestEvaluationLoss compares with the loss that training computes on the same rows, and with another size of batch.
func TestEvaluationLoss(t *testing.T) {
	t.Parallel()
	cfg, list := evaluated(t, 3, 1)
	cfg.EvalRows = cfg.Rows
	cfg.Training.PerDeviceTrainBatchSize, cfg.Training.GradientAccumulationSteps = 10, 1
	var losses []float64
	cfg.OnStep = func(s Step) { losses = append(losses, s.Loss) }
	mustRun(t, cfg)
	for i, loss := range losses {
		if e := (*list)[i]; math.Abs(e.Loss-loss) > 1e-6 {
			t.Errorf("after step %d: evaluated %g, trained on it at %g", i, e.Loss, loss)
		}
	}
	whole := slices.Clone(*list)
	*list = nil
	cfg.Training.PerDeviceEvalBatchSize, cfg.Dir = 3, t.TempDir()
	mustRun(t, cfg)
	for i, e := range *list {
		if math.Abs(e.Loss-whole[i].Loss) > 1e-6 {
			t.Errorf("step %d: %g in batches of 3, %g in one", e.Step, e.Loss, whole[i].Loss)
		}
	}
}

// TestEvalState follows the books: Trainer's best metric and EarlyStoppingCallback's patience.
func TestEvalState(t *testing.T) {
	t.Parallel()
	var s evalState
	for i, want := range []struct {
		loss        float64
		best        bool
		worse, step int
		stopped     bool
	}{
		{3, true, 0, 1, false},
		{2.5, true, 0, 2, false},
		{2.45, true, 1, 3, false}, // better, but not by 0.1
		{2.6, false, 2, 3, true},
		{2.2, true, 0, 5, false},
	} {
		best := s.take(i+1, want.loss, 2, 0.1)
		if best != want.best || s.Worse != want.worse || s.BestStep != want.step || s.Stopped != want.stopped {
			t.Errorf("after %g: best %v, %+v, expected %+v", want.loss, best, s, want)
		}
	}
}

// TestBest stops early on rows that the model unlearns, and publishes the best parameters: they give the loss that
// the best evaluation had.
func TestBest(t *testing.T) {
	t.Parallel()
	cfg, list := evaluated(t, 40, 2)
	cfg.Training.LearningRate, cfg.Training.EarlyStoppingPatience, cfg.Training.LoadBestModelAtEnd = 0.05, 3, true
	cfg.Training.LRSchedulerType = job.SchedulerConstantWithWarmup
	result := mustRun(t, cfg)
	last := (*list)[len(*list)-1]
	if !last.Stop || last.Worse != 3 || result.Steps != last.Step || result.Steps >= 40 {
		t.Fatalf("%d steps, last evaluation %+v", result.Steps, last)
	}
	best := slices.MinFunc((*list)[1:], func(a, b Evaluation) int { return int(math.Copysign(1, a.Loss-b.Loss)) })
	if e := result.Evaluation; e.Step != best.Step || e.Loss != best.Loss || e.Step == result.Steps {
		t.Errorf("published is %+v, the best is step %d with %g", e, best.Step, best.Loss)
	}
	m, err := model.Load(cfg.Device, cfg.BaseDir)
	if err != nil {
		t.Fatal(err)
	}
	a, err := lora.Load(m.Config, result.AdapterDir)
	if err != nil {
		t.Fatal(err)
	}
	e, err := newLoraEngine(m, model.NewFastCompiler(cfg.Device.Backend()), a, adamW{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.close)
	batches, err := lines(cfg.EvalRows, func(int) int { return 2 }, 64, m.Config.Vocab)
	if err != nil {
		t.Fatal(err)
	}
	total, tokens := 0.0, 0
	for _, b := range batches {
		nll, err := e.evaluate(b)
		if err != nil {
			t.Fatal(err)
		}
		total += sum(nll)
		tokens += len(b.places)
	}
	if loss := total / float64(tokens); math.Abs(loss-best.Loss) > 1e-6 {
		t.Errorf("the adapter's loss is %g, that of the best evaluation %g", loss, best.Loss)
	}
}

// TestResumeEvaluation stops between two evaluations, at one, and while one runs: patience, best parameters and the
// adapter must be those of the run that was never stopped.
func TestResumeEvaluation(t *testing.T) {
	t.Parallel()
	cfg, list := evaluated(t, 12, 2)
	cfg.Training.LearningRate, cfg.Training.EarlyStoppingPatience, cfg.Training.LoadBestModelAtEnd = 0.05, 2, true
	cfg.Training.LRSchedulerType, cfg.Training.NEFTuneAlpha, cfg.Training.LoraPlusLRRatio = job.SchedulerConstantWithWarmup, 5, 4
	whole, resumed := runAndResume(t, cfg, 5)
	compareEvaluations(t, whole, resumed)
	atEvaluation := len(*list)

	*list = nil
	cfg.Dir = t.TempDir()
	ctx, stop := context.WithCancelCause(context.Background())
	steps := 0
	cfg.OnStep = func(s Step) { steps = s.Step }
	cfg.Alive = func() {
		if steps == 4 { // the first rectangle of the evaluation after step 4
			stop(ErrStop)
		}
	}
	_, err := Run(ctx, cfg)
	var stopped *StoppedError
	if !errors.As(err, &stopped) || stopped.Step != 4 || len(*list) != 2 {
		t.Fatalf("got %v after %d evaluations, expected a stop in the evaluation after step 4", err, len(*list))
	}
	cfg.OnStep, cfg.Alive, cfg.Resume, cfg.Dir = nil, nil, stopped.Dir, t.TempDir()
	compareEvaluations(t, whole, mustRun(t, cfg))
	if 2*len(*list) != atEvaluation {
		t.Errorf("%d evaluations with an interrupted one, %d in two runs without", len(*list), atEvaluation)
	}
}

func compareEvaluations(t *testing.T, whole, resumed *Result) {
	t.Helper()
	equalAdapters(t, whole, resumed)
	a, b := *whole.Evaluation, *resumed.Evaluation
	if a.Took, b.Took = 0, 0; a != b || whole.Steps != resumed.Steps {
		t.Errorf("whole: %d steps, %+v\nresumed: %d steps, %+v", whole.Steps, a, resumed.Steps, b)
	}
}
