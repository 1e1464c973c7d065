package train

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"time"

	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/lora"
	"descant/pkg/model"
)

// Run trains until the last step and writes the result into Dir. Cancelling ctx with the cause [ErrStop] ends
// it after the step that runs, with a checkpoint and a [StoppedError]; any other cancellation ends it between
// two micro-batches without one.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	start := time.Now()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.BaseName == "" {
		cfg.BaseName = cfg.BaseDir
	}
	if cfg.now == nil {
		cfg.now = time.Now
	}
	r := &run{cfg: cfg, start: start}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	defer r.engine.close()
	if err := r.loop(ctx); err != nil {
		return nil, err
	}
	return r.finish()
}

// run is the state of one call of [Run].
type run struct {
	cfg      Config
	start    time.Time
	adapter  *lora.Plan
	engine   *engine
	compiler *model.Compiler
	batches  *batches
	schedule schedule
	state    state
	saving   saving
	// evalBatches are the rows for evaluation; best is the file of the best parameters so far, or "".
	evalBatches []*microBatch
	best        string

	result  Result
	loading time.Duration // of the base's weights
	stepped time.Time     // when the first step of this run ended
	after   int64         // tokens trained in this run since then
	speed   speed
}

// prepare loads the base, chooses what is trained and goes to the step to start from.
func (r *run) prepare() error {
	t := r.cfg.Training
	begin := time.Now()
	base, err := r.loadBase()
	if err != nil {
		return err
	}
	r.loading = time.Since(begin)
	if err := r.prepareRows(base.Config); err != nil {
		base.Close()
		return err
	}
	r.compiler = model.NewFastCompiler(r.cfg.Device.Backend())
	optimizer := adamW{beta1: t.AdamBeta1, beta2: t.AdamBeta2, epsilon: t.AdamEpsilon, weightDecay: t.WeightDecay,
		ratio: t.LoraPlusLRRatio}
	if t.Method == job.MethodFull {
		r.engine, err = newFullEngine(base, r.compiler, optimizer)
	} else {
		adapter, startErr := r.cfg.adapter(base.Config)
		if startErr != nil {
			base.Close()
			return startErr
		}
		r.adapter = adapter.Plan
		r.engine, err = newLoraEngine(base, r.compiler, adapter, optimizer)
	}
	if err != nil {
		return err
	}
	r.engine.noise, r.engine.checkpointing = t.NEFTuneAlpha, t.GradientCheckpointing
	for _, g := range r.engine.groups() {
		r.result.TrainedParameters += int64(g.value.Shape().Size())
	}
	if r.cfg.Resume == "" {
		return nil
	}
	device := r.state.Device
	if r.state, err = readState(r.cfg.Resume, r.state); err == nil {
		r.state.Device = device // the next checkpoint is made here
		err = r.engine.restore(r.cfg.Resume)
	}
	if best := filepath.Join(r.cfg.Resume, bestFile); err == nil && r.state.Eval != nil && r.state.Eval.Count > 0 && t.LoadBestModelAtEnd {
		r.best = best
	}
	if err != nil {
		r.engine.close()
	}
	return err
}

// loadBase reads the base's weights in the dtype of the settings: auto is f32.
func (r *run) loadBase() (*model.Model, error) {
	r.result.DType = job.DTypeBF16
	if r.cfg.Training.DType != job.DTypeBF16 {
		r.result.DType = job.DTypeF32
		if r.cfg.Training.Method == job.MethodFull {
			return model.Load(r.cfg.Device, r.cfg.BaseDir)
		}
		return model.LoadHalvesOn(r.cfg.Device.Backend(), r.cfg.BaseDir)
	}
	base, err := model.LoadBF16(r.cfg.Device, r.cfg.BaseDir)
	if err != nil {
		return nil, fmt.Errorf("train with dtype bf16: %w", err)
	}
	if base.Rounded > 0 {
		r.cfg.Logger.Warn("the base's files hold more digits than bf16: its matrices were rounded; dtype f32 keeps them",
			"matrices", base.Rounded, "stored", base.Config.Stored)
	}
	if d := r.cfg.Device; d.Kind() == device.XLA && !device.CPUFacts().FastBF16() {
		r.cfg.Logger.Warn("this processor multiplies bf16 no faster than f32: dtype bf16 saves memory here, but no time")
	}
	return base, nil
}

func (r *run) prepareRows(base *model.Config) error {
	t := r.cfg.Training
	if t.MaxLength > base.MaxPositions {
		return job.UserError(job.CodeBadRequest, fmt.Sprintf("max_length %d is more than the model's %d positions%s", t.MaxLength,
			base.MaxPositions, dynamicReason(base)), fmt.Sprintf("use a max_length of at most %d", base.MaxPositions))
	}
	var err error
	r.batches, err = newBatches(r.cfg.Rows, t.Seed, t.PerDeviceTrainBatchSize, t.GradientAccumulationSteps, t.MaxLength, base.Vocab)
	if err != nil {
		return err
	}
	r.batches.logger = r.cfg.Logger
	r.batches.cheapSizes = device.HasFlash(device.Fastest(r.cfg.Device.Backend()), base.HeadDim)
	if t.Packing {
		r.batches.pack(t.MaxLength)
	}
	if err := r.prepareEvaluation(base); err != nil {
		return err
	}
	total := t.MaxSteps
	if total == 0 {
		total = int(math.Ceil(t.NumTrainEpochs * float64(r.batches.perEpoch())))
	}
	r.batches.steps = total
	if r.schedule, err = newSchedule(t, total); err != nil {
		return err
	}
	spec := r.cfg.SpecDigest
	if spec == "" {
		text, err := json.Marshal(t)
		if err != nil {
			return err
		}
		spec = fmt.Sprintf("sha256:%x", sha256.Sum256(fmt.Appendf(text, " rows %d", r.cfg.Rows.Len())))
	}
	r.state = state{Format: checkpointFormat, Total: total, Seed: t.Seed, Spec: spec, Device: r.cfg.Device.Name()}
	return nil
}

// dynamicReason tells why a model that can answer beyond its positions is not trained there.
func dynamicReason(base *model.Config) string {
	if base.MaxContext() == base.MaxPositions {
		return ""
	}
	return "; its rope scaling is dynamic, with which a longer row's gradient would depend on the rows beside it " +
		"and on those before"
}

// loop runs the steps that are left.
func (r *run) loop(ctx context.Context) error {
	r.saving = newSaving(r.cfg.Training, r.cfg.now)
	if r.cfg.Resume != "" {
		r.saving.saved(r.state.Step, r.cfg.Resume)
	}
	if err := r.assess(ctx); err != nil {
		return r.broken(ctx, err)
	}
	for r.state.Step < r.state.Total && (r.state.Eval == nil || !r.state.Eval.Stopped) {
		if err := ctx.Err(); err != nil {
			return r.stop(ctx)
		}
		if err := r.step(ctx); err != nil {
			if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
				return fmt.Errorf("train: step %d: %w", r.state.Step+1, err)
			}
			return err
		}
		if err := r.assess(ctx); err != nil {
			return r.broken(ctx, err)
		}
		if r.saving.due(r.state.Step) {
			if err := r.checkpoint(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// broken ends a run whose evaluation failed, which cancelling does too.
func (r *run) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return r.stop(ctx)
	}
	return err
}

// stop ends a cancelled run: with a checkpoint if that is what the canceller wanted.
func (r *run) stop(ctx context.Context) error {
	cause := context.Cause(ctx)
	if !errors.Is(cause, ErrStop) {
		return fmt.Errorf("train: after step %d: %w", r.state.Step, cause)
	}
	if r.saving.at != r.state.Step {
		// The cancelled context must not keep the checkpoint from being stored.
		if err := r.checkpoint(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	return &StoppedError{Step: r.state.Step, Dir: r.saving.dir}
}

func (r *run) checkpointDir() string {
	return filepath.Join(r.cfg.Dir, "checkpoints", fmt.Sprintf("step-%06d", r.state.Step))
}

func (r *run) checkpoint(ctx context.Context) error {
	dir := r.checkpointDir()
	told := func(part string) { r.cfg.point(ctx, "checkpoint %d %s", r.state.Step, part) }
	if err := saveCheckpoint(r.engine, r.state, dir, r.best, told); err != nil {
		return r.locate(err)
	}
	r.saving.saved(r.state.Step, dir)
	r.cfg.Logger.Info("checkpoint written", "step", r.state.Step, "dir", dir)
	if r.cfg.OnCheckpoint == nil {
		return nil
	}
	if err := r.cfg.OnCheckpoint(ctx, Checkpoint{Step: r.state.Step, Dir: dir}); err != nil {
		return fmt.Errorf("store checkpoint of step %d: %w", r.state.Step, err)
	}
	return nil
}

// step runs one optimizer step.
func (r *run) step(ctx context.Context) error {
	begin := time.Now()
	micro := r.batches.step(r.state.Step)
	tokens, trained := 0, 0
	for _, b := range micro {
		tokens += b.tokens
		trained += len(b.places)
	}
	number := r.state.Step + 1
	nll := 0.0
	for i, b := range micro {
		// Dropout differs in every micro-batch of every step.
		seed := mix(mix(uint64(r.state.Seed)+uint64(number)<<20) + uint64(i))
		part, err := r.engine.accumulate(b, 1/float64(max(1, trained)), seed)
		if err != nil {
			return fmt.Errorf("train: step %d: %w", number, err)
		}
		nll += part
		if notFinite(part) {
			return &NotFiniteError{Step: number, What: "loss", Value: part, Rows: r.batches.places(b)}
		}
		r.cfg.point(ctx, "step %d micro-batch %d", number, i+1)
		if r.cfg.Alive != nil {
			r.cfg.Alive()
		}
		if ctx.Err() != nil && !errors.Is(context.Cause(ctx), ErrStop) {
			return context.Cause(ctx)
		}
	}
	loss := nll / float64(max(1, trained))
	norm, err := r.engine.gradientNorm()
	if err != nil {
		return fmt.Errorf("train: step %d: %w", number, err)
	}
	if notFinite(norm) {
		return &NotFiniteError{Step: number, What: "gradient norm", Value: norm, Rows: r.batches.places(micro...)}
	}
	lr := r.schedule.rate(r.state.Step)
	if err := r.engine.update(number, lr, clipFactor(norm, r.cfg.Training.MaxGradNorm)); err != nil {
		return fmt.Errorf("train: step %d: %w", number, err)
	}
	r.cfg.point(ctx, "step %d updated", number)
	r.state.Step = number
	r.state.Tokens += int64(tokens)
	r.state.TrainedTokens += int64(trained)
	r.tell(loss, lr, norm, tokens, time.Since(begin))
	return nil
}

// tell keeps the books after a step and reports it.
func (r *run) tell(loss, lr, norm float64, tokens int, took time.Duration) {
	now := time.Now()
	if r.stepped.IsZero() {
		r.stepped = now
		r.result.TimeToFirstStep = now.Sub(r.start)
		r.result.FirstLoss = loss
	} else {
		r.after += int64(tokens)
	}
	r.state.Loss = loss
	r.result.Seconds += took.Seconds()
	r.speed.add(tokens, took)
	s := r.state
	if r.cfg.OnStep == nil {
		return
	}
	perSecond, perStep := r.speed.latest()
	r.cfg.OnStep(Step{
		Step: s.Step, Total: s.Total, Loss: loss, LR: lr, GradNorm: norm,
		Tokens: s.Tokens, TrainedTokens: s.TrainedTokens, TokensPerSecond: perSecond,
		ETA:   time.Duration(s.Total-s.Step) * perStep,
		Epoch: float64(s.Step) / float64(r.batches.perEpoch()),
	})
}

// finish writes the adapter or the model and sums up.
func (r *run) finish() (*Result, error) {
	res := &r.result
	if err := r.engine.finite(); err != nil {
		return nil, r.locate(err)
	}
	if err := r.takeBest(); err != nil {
		return nil, err
	}
	r.sumUp()
	if r.adapter != nil {
		res.AdapterDir = filepath.Join(r.cfg.Dir, "adapter")
		a := &lora.Adapter{Plan: r.adapter, Flats: make([][]float32, len(r.engine.layers))}
		for i, g := range r.engine.layers {
			if g == nil {
				continue
			}
			var err error
			if a.Flats[i], err = model.Download[float32](g.value); err != nil {
				return nil, fmt.Errorf("save adapter: %w", err)
			}
		}
		if err := a.Save(res.AdapterDir); err != nil {
			return nil, err
		}
		var err error
		if res.MaxLogitDiff, res.Probe, err = r.effect(); err != nil {
			return nil, fmt.Errorf("check adapter: %w", err)
		}
	} else {
		res.ModelDir = filepath.Join(r.cfg.Dir, "model")
		if err := r.engine.saveModel(r.cfg.BaseDir, res.ModelDir); err != nil {
			return nil, err
		}
	}
	res.Steps, res.Tokens, res.TrainedTokens, res.FinalLoss = r.state.Step, r.state.Tokens, r.state.TrainedTokens, r.state.Loss
	if !r.stepped.IsZero() && r.after > 0 {
		res.TokensPerSecond = float64(r.after) / time.Since(r.stepped).Seconds()
	}
	res.PeakRSS = device.MemoryFacts().PeakRSS
	res.Compilations, res.CompileTime = r.compiler.Compilations(), r.compiler.Spent()
	return res, nil
}

// speed remembers the latest steps.
type speed struct {
	tokens []int
	times  []time.Duration
}

// window is over how many steps the speed is told.
const window = 10

func (s *speed) add(tokens int, took time.Duration) {
	s.tokens, s.times = append(s.tokens, tokens), append(s.times, took)
	if len(s.tokens) > window {
		s.tokens, s.times = s.tokens[1:], s.times[1:]
	}
}

// latest gives tokens per second and time per step of the window.
func (s *speed) latest() (perSecond float64, perStep time.Duration) {
	tokens, total := 0, time.Duration(0)
	for i := range s.tokens {
		tokens += s.tokens[i]
		total += s.times[i]
	}
	if total <= 0 {
		return 0, 0
	}
	return float64(tokens) / total.Seconds(), total / time.Duration(len(s.times))
}
