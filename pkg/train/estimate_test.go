package train

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"descant/pkg/job"
	"descant/pkg/model"
)

// TestEstimate compares what can be counted with a run of the same settings.
func TestEstimate(t *testing.T) {
	t.Parallel()
	for _, method := range []string{job.MethodLora, job.MethodFull} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			cfg := settings(t, 4) // two epochs of 10 rows, the last steps of which are smaller
			cfg.Training.Method, cfg.Training.MaxSteps, cfg.Training.NumTrainEpochs = method, 0, 2
			heard := 0
			cfg.OnStep = func(Step) { heard++ }
			got, err := EstimateRun(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if heard > 0 {
				t.Errorf("the estimate reported %d steps of training", heard)
			}
			if left, err := filepath.Glob(filepath.Join(cfg.Dir, "*")); err != nil || len(left) > 0 {
				t.Errorf("the estimate left %v, %v", left, err)
			}
			result, err := Run(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if got.Steps != result.Steps || got.Steps != got.Sampled || got.Tokens != result.Tokens || got.TrainedParameters != result.TrainedParameters {
				t.Errorf("estimated %+v, the run was %+v", got, result)
			}
			checkEstimate(t, cfg, got)
		})
	}
}

// checkEstimate holds the parts of an estimate against the architecture and the rows.
func checkEstimate(t *testing.T, cfg Config, got *Estimate) {
	t.Helper()
	base, err := model.ReadConfig(cfg.BaseDir)
	if err != nil {
		t.Fatal(err)
	}
	// 10 rows an epoch in steps of 2 × 2: two full ones and one of a single micro-batch.
	if got.MicroBatches != 2*5 || got.Padded != 2*5*2*16 || len(got.Widths) != 1 || got.Widths[0].Width != 32 || got.Widths[0].Lane != 16 {
		t.Errorf("%d micro-batches, %d tokens with padding, widths %v", got.MicroBatches, got.Padded, got.Widths)
	}
	lora := cfg.Training.Method != job.MethodFull
	rows := chunks(1, headRows(base.Vocab, lora))[0]
	weights, optimizer, head := 4*base.Parameters(), 16*got.TrainedParameters, 12*int64(logitsOf(rows, base.Vocab, lora))
	if !lora {
		weights = 0 // they are the trained parameters
	}
	m := got.Memory
	if m.Weights != weights || m.Optimizer != optimizer || m.Head != head {
		t.Errorf("weights %d, optimizer %d, head %d, expected %d, %d and %d", m.Weights, m.Optimizer, m.Head, weights, optimizer, head)
	}
	// A layer keeps its input and q, attention, residual (hidden wide), k, v, gate and up.
	wide := 4*base.Hidden + 2*base.KVWidth() + 2*base.Intermediate
	if want := int64(base.Layers) * 4 * 2 * 16 * int64(wide); m.Saved != want {
		t.Errorf("saved activations %d, expected %d", m.Saved, want)
	}
	if m.Peak < m.Weights+m.Saved+m.Optimizer+m.Head {
		t.Errorf("memory %+v", m)
	}
	time := got.Time
	for name, part := range map[string]float64{"load": time.Load, "compile": time.Compile, "layers": time.Layers, "head": time.Head, "update": time.Update} {
		if part <= 0 || part > time.Total {
			t.Errorf("%s takes %g s of %g s", name, part, time.Total)
		}
	}
}

// TestEstimateOfSecondLayer trains the second layer alone, where the made-up base trains both.
func TestEstimateOfSecondLayer(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*job.Training){
		"layers_to_transform": func(o *job.Training) { o.LayersToTransform = job.LayerList{1} },
		"expression":          func(o *job.Training) { o.TargetModules = job.TargetModules{`.*layers\.1\..*(q|v)_proj`} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := settings(t, 2)
			set(&cfg.Training)
			got, err := EstimateRun(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			result, err := Run(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			if got.TrainedParameters != result.TrainedParameters || got.Memory.Optimizer != 16*result.TrainedParameters {
				t.Errorf("estimated %d trained parameters, the run has %d", got.TrainedParameters, result.TrainedParameters)
			}
		})
	}
}

// TestEstimateOfEvaluations counts how often the rows for evaluation are looked at, as a run does.
func TestEstimateOfEvaluations(t *testing.T) {
	t.Parallel()
	for _, every := range []int{0, 2, 3, 5, 9} {
		cfg := settings(t, 6)
		cfg.EvalRows, cfg.Training.EvalSteps = sentences(3), every
		heard := 0
		cfg.OnEvaluation = func(Evaluation) { heard++ }
		if _, err := Run(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		m := &measurement{run: &run{cfg: cfg}, steps: 6, evals: []evalCost{{}}}
		if got := m.evaluations(); got != heard {
			t.Errorf("eval_steps %d: %d evaluations estimated, the run had %d", every, got, heard)
		}
		got, err := EstimateRun(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if got.Time.Evaluate <= 0 {
			t.Errorf("eval_steps %d: evaluations take %g s", every, got.Time.Evaluate)
		}
	}
}

// TestEstimateStops ends an estimate by its context, and refuses what a run refuses.
func TestEstimateStops(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 1)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := EstimateRun(ctx, cfg); !errors.Is(err, cause) {
		t.Errorf("got %v, expected %v", err, cause)
	}
	cfg.Rows = table{{1, 99999}}
	if _, err := EstimateRun(t.Context(), cfg); err == nil {
		t.Error("rows of another vocabulary were estimated")
	}
}

// TestFewLayers makes the base of an estimate and loads it.
func TestFewLayers(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 1)
	dir := t.TempDir()
	if err := writeLayers(cfg.BaseDir, dir, 1); err != nil {
		t.Fatal(err)
	}
	m, err := model.Load(cfg.Device, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	whole, err := model.ReadConfig(cfg.BaseDir)
	if err != nil {
		t.Fatal(err)
	}
	if m.Config.Layers != 1 || m.Config.Hidden != whole.Hidden || m.Config.Vocab != whole.Vocab {
		t.Errorf("the made-up base is %+v", m.Config)
	}
	values, err := model.Download[float32](m.Layers[0][len(m.Layers[0])-1])
	if err != nil {
		t.Fatal(err)
	}
	values = values[:min(len(values), 64)]
	for i, v := range values {
		if v < -0.05 || v > 0.05 || i > 0 && v == values[i-1] {
			t.Fatalf("weights %v", values)
		}
	}
}
