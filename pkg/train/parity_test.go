package train

import (
	"path/filepath"
	"strings"
	"testing"

	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
	"descant/pkg/safetensors"
)

// Tolerances of the parity cases (their README says how they were measured).
const (
	gradientLimit  = 3e-5
	normLimit      = 1e-5
	stepLossLimit  = 2e-5
	stepNormLimit  = 2e-5
	finalLimit     = 5e-5
	rateLimit      = 1e-12
	meanLossLimit  = 1e-5
	finalLossLimit = 2e-5
)

// referenceBatch is a right-padded batch of the parity files.
type referenceBatch struct {
	IDs    [][]int32 `json:"input_ids"`
	Mask   [][]int   `json:"attention_mask"`
	Labels [][]int32 `json:"labels"`
}

// micro pads the batch further, to a shape that all batches of a run share, so that nothing compiles twice.
func (r referenceBatch) micro(rows, width int) *microBatch {
	m := &microBatch{rows: max(rows, len(r.IDs)), width: width}
	m.ids = make([]int32, m.rows*m.width)
	for i := range r.IDs {
		m.put(i, r.IDs[i], r.Labels[i])
	}
	return m
}

// width is that of the widest batch.
func (r referenceRun) width() int {
	widest := 0
	for _, s := range r.Steps {
		for _, b := range s.MicroBatches {
			widest = max(widest, len(b.IDs[0]))
		}
	}
	return widest
}

type referenceStep struct {
	LR           float64          `json:"lr"`
	Loss         float64          `json:"loss"`
	GradNorm     float64          `json:"grad_norm"`
	Tokens       int              `json:"tokens"`
	MicroBatches []referenceBatch `json:"micro_batches"`
}

type referenceRun struct {
	Optimizer struct {
		Beta1       float64 `json:"beta1"`
		Beta2       float64 `json:"beta2"`
		Eps         float64 `json:"eps"`
		WeightDecay float64 `json:"weight_decay"`
	} `json:"optimizer"`
	Schedule struct {
		Type        string  `json:"type"`
		BaseLR      float64 `json:"base_lr"`
		WarmupSteps int     `json:"warmup_steps"`
		TotalSteps  int     `json:"total_steps"`
	} `json:"schedule"`
	MaxGradNorm float64         `json:"max_grad_norm"`
	Steps       []referenceStep `json:"steps"`
	FinalEval   struct {
		BatchOfStep int     `json:"batch_of_step"`
		Tokens      int     `json:"tokens"`
		Loss        float64 `json:"loss"`
	} `json:"final_eval"`
}

func (r referenceRun) adamW() adamW {
	o := r.Optimizer
	return adamW{beta1: o.Beta1, beta2: o.Beta2, epsilon: o.Eps, weightDecay: o.WeightDecay}
}

func (r referenceRun) schedule(t *testing.T) schedule {
	t.Helper()
	training := job.Training{LRSchedulerType: r.Schedule.Type, LearningRate: r.Schedule.BaseLR, WarmupSteps: r.Schedule.WarmupSteps}
	s, err := newSchedule(training, r.Schedule.TotalSteps)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// loraEngine opens the base of a case with one of its adapters.
func loraEngine(t *testing.T, dev *device.Device, c modeltest.Case, adapter string, o adamW) *engine {
	t.Helper()
	m, err := model.Load(dev, c.Base())
	if err != nil {
		t.Fatal(err)
	}
	a, err := lora.Load(m.Config, filepath.Join(c.Dir, adapter))
	if err != nil {
		t.Fatal(err)
	}
	e, err := newLoraEngine(m, model.NewFastCompiler(dev.Backend()), a, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.close)
	return e
}

// TestParityLora checks gradients and a training run of a case with one engine, because compiling takes longer
// than all the rest.
func TestParityLora(t *testing.T) {
	forEach(t, "train.json", func(t *testing.T, dev *device.Device, c modeltest.Case) {
		var run referenceRun
		c.JSON(t, "train.json", &run)
		batch := c.Tensors(t, "forward.safetensors").Batch(t, "right")
		width := max(run.width(), batch.Width)

		e := loraEngine(t, dev, c, "adapter", run.adamW())
		checkGradients(t, e, c, batch, width, meanLossLimit, normLimit)
		flats := download(t, e.layers, func(g *group) *model.Array { return g.gradient() })
		compareTensors(t, e.target.(*loraTarget).plan.Tensors(flats), c.Tensors(t, "grads.safetensors"), gradientLimit)
		e.clearGradients()

		plan := e.target.(*loraTarget).plan
		flats, err := plan.ReadWeights(filepath.Join(c.Dir, "train_init", lora.WeightsFile))
		if err != nil {
			t.Fatal(err)
		}
		for i, flat := range flats {
			if e.layers[i] == nil {
				continue
			}
			value, err := model.Upload(dev.Backend(), flat, len(flat))
			if err != nil {
				t.Fatal(err)
			}
			e.layers[i].value.Free()
			e.layers[i].value = value
		}
		followRun(t, e, run, batch.Rows, width)
		trained := download(t, e.layers, func(g *group) *model.Array { return g.value })
		compareTensors(t, plan.Tensors(trained), c.Tensors(t, "train_final.safetensors"), finalLimit)
	})
}

// checkGradients computes the gradients at the state in adapter/ on the completion labels of loss.json, and compares
// the mean loss, which it gives, and the global norm (relative).
func checkGradients(t *testing.T, e *engine, c modeltest.Case, batch model.Batch, width int, lossLimit, normLimit float64) float64 {
	t.Helper()
	var want struct {
		Loss       float64 `json:"loss"`
		Tokens     int     `json:"tokens"`
		GlobalNorm float64 `json:"global_norm"`
	}
	c.JSON(t, "grads.json", &want)
	var losses struct {
		Variants map[string]referenceBatch `json:"variants"`
	}
	c.JSON(t, "loss.json", &losses)
	m := &microBatch{rows: batch.Rows, width: width, ids: make([]int32, batch.Rows*width)}
	for r, labels := range losses.Variants["completion"].Labels {
		m.put(r, batch.IDs[r*batch.Width:(r+1)*batch.Width], labels)
	}
	if len(m.places) != want.Tokens {
		t.Fatalf("%d trained tokens, expected %d", len(m.places), want.Tokens)
	}
	total, err := e.accumulate(m, 1/float64(want.Tokens), 0)
	if err != nil {
		t.Fatal(err)
	}
	modeltest.NearNumber(t, "loss", total/float64(want.Tokens), want.Loss, lossLimit)
	norm, err := e.gradientNorm()
	if err != nil {
		t.Fatal(err)
	}
	modeltest.NearNumber(t, "global norm", norm/want.GlobalNorm, 1, normLimit)
	return total / float64(want.Tokens)
}

func TestParityFullTrain(t *testing.T) {
	forEach(t, "full_train.json", func(t *testing.T, dev *device.Device, c modeltest.Case) {
		var want referenceRun
		c.JSON(t, "full_train.json", &want)
		m, err := model.Load(dev, c.Base())
		if err != nil {
			t.Fatal(err)
		}
		e, err := newFullEngine(m, model.NewFastCompiler(dev.Backend()), want.adamW())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.close)

		first := want.Steps[0]
		rows, width := len(first.MicroBatches[0].IDs), want.width()
		for _, b := range first.MicroBatches {
			if _, err := e.accumulate(b.micro(rows, width), 1/float64(first.Tokens), 0); err != nil {
				t.Fatal(err)
			}
		}
		grads, err := e.weights(func(g *group) *model.Array { return g.gradient() })
		if err != nil {
			t.Fatal(err)
		}
		compareTensors(t, withoutKeyBias(grads), c.Tensors(t, "full_train_grads.safetensors"), gradientLimit)
		e.clearGradients()

		followRun(t, e, want, rows, width)
		final, err := e.weights(func(g *group) *model.Array { return g.value })
		if err != nil {
			t.Fatal(err)
		}
		compareTensors(t, withoutKeyBias(final), c.Tensors(t, "full_train_final.safetensors"), finalLimit)
	})
}

// withoutKeyBias drops the biases of k_proj: they nearly cancel in the softmax, so their gradients are rounding
// errors.
func withoutKeyBias(list []safetensors.Tensor) []safetensors.Tensor {
	var kept []safetensors.Tensor
	for _, tensor := range list {
		if !strings.HasSuffix(tensor.Name, "k_proj.bias") {
			kept = append(kept, tensor)
		}
	}
	return kept
}

// followRun trains the steps of a reference run and compares loss, rate and norm of each.
func followRun(t *testing.T, e *engine, want referenceRun, rows, width int) {
	t.Helper()
	schedule := want.schedule(t)
	for i, step := range want.Steps {
		lr := schedule.rate(i)
		modeltest.NearNumber(t, "lr", lr, step.LR, rateLimit)
		total, tokens := 0.0, 0
		for _, b := range step.MicroBatches {
			m := b.micro(rows, width)
			tokens += len(m.places)
			nll, err := e.accumulate(m, 1/float64(step.Tokens), 0)
			if err != nil {
				t.Fatal(err)
			}
			total += nll
		}
		if tokens != step.Tokens {
			t.Fatalf("step %d: %d trained tokens, expected %d", i, tokens, step.Tokens)
		}
		modeltest.NearNumber(t, "loss", total/float64(tokens), step.Loss, stepLossLimit)
		norm, err := e.gradientNorm()
		if err != nil {
			t.Fatal(err)
		}
		modeltest.NearNumber(t, "norm", norm/step.GradNorm, 1, stepNormLimit)
		if err := e.update(i+1, lr, clipFactor(norm, want.MaxGradNorm)); err != nil {
			t.Fatal(err)
		}
	}
	total := 0.0
	for _, b := range want.Steps[want.FinalEval.BatchOfStep].MicroBatches {
		nll, err := e.evaluate(b.micro(rows, width))
		if err != nil {
			t.Fatal(err)
		}
		total += sum(nll)
	}
	modeltest.NearNumber(t, "final loss", total/float64(want.FinalEval.Tokens), want.FinalEval.Loss, finalLossLimit)
}

func download(t *testing.T, layers []*group, pick func(*group) *model.Array) [][]float32 {
	t.Helper()
	flats := make([][]float32, len(layers))
	for i, g := range layers {
		if g == nil {
			continue
		}
		values, err := model.Download[float32](pick(g))
		if err != nil {
			t.Fatal(err)
		}
		flats[i] = values
	}
	return flats
}

func compareTensors(t *testing.T, got []safetensors.Tensor, want *modeltest.Tensors, limit float64) {
	t.Helper()
	compared := 0
	for _, tensor := range got {
		if _, ok := want.Info(tensor.Name); !ok {
			continue // the full-training files hold a few tensors only
		}
		compared++
		values, err := safetensors.DecodeFloat32(tensor.DType, tensor.Data)
		if err != nil {
			t.Fatal(err)
		}
		modeltest.Close(t, tensor.Name, values, want.F32(t, tensor.Name), limit)
	}
	if compared != len(want.Names()) {
		t.Errorf("compared %d tensors, the reference has %d", compared, len(want.Names()))
	}
}

// forEach runs a test on every device for every case that has the file.
func forEach(t *testing.T, file string, run func(*testing.T, *device.Device, modeltest.Case)) {
	for _, dev := range modeltest.Devices(t) {
		for _, c := range modeltest.Cases(t, file) {
			t.Run(dev.Kind()+"/"+c.Name, func(t *testing.T) {
				t.Parallel()
				run(t, dev, c)
			})
		}
	}
}
