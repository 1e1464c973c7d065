package train

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"descant/pkg/device"
	"descant/pkg/job"
)

// ErrStop is the cause with which a context is cancelled to stop a run in good order: it finishes the step,
// writes a checkpoint and returns a [StoppedError]. Any other cause ends the run at once.
var ErrStop = errors.New("stop training after this step")

// StoppedError says that a run stopped because it was asked to, and where it can go on.
type StoppedError struct {
	// Step is the number of finished steps, Dir the checkpoint to resume from.
	Step int
	Dir  string
}

func (e *StoppedError) Error() string {
	return fmt.Sprintf("training stopped after step %d; it can go on from %s", e.Step, e.Dir)
}

// Is makes errors.Is(err, ErrStop) hold.
func (e *StoppedError) Is(target error) bool { return target == ErrStop }

// NotFiniteError says that a loss, a gradient or a weight became NaN or infinite.
type NotFiniteError struct {
	// Step counts from 1; What is "loss", "gradient norm", "largest updated value" or "evaluation loss".
	Step  int
	What  string
	Value float64
	// Rows are those that it came from: of the micro-batch for a loss, of the whole step otherwise, none for an
	// evaluation.
	Rows []Place
}

func (e *NotFiniteError) Error() string {
	if len(e.Rows) == 0 {
		return fmt.Sprintf("the %s after step %d is %g; lower learning_rate (the last good checkpoint is kept)", e.What, e.Step, e.Value)
	}
	return fmt.Sprintf("the %s of step %d is %g: training diverged on %v; lower learning_rate or check these rows "+
		"(the last good checkpoint is kept)", e.What, e.Step, e.Value, e.Rows)
}

// Place is where a row is in its dataset.
type Place struct {
	// Row counts from 0: the column row of the shards. Line is the line of the file, from 1, or 0 where it is not known.
	Row, Line int
	// Part is the number of the dataset among several, from 0, or -1 where it is not known.
	Part int
}

func (p Place) String() string {
	if p.Line > 0 {
		return fmt.Sprintf("row %d (line %d)", p.Row, p.Line)
	}
	return fmt.Sprintf("row %d", p.Row)
}

// Config says what to train on what, and where its files go.
type Config struct {
	// Device computes.
	Device *device.Device
	// BaseDir is the folder of the base model.
	BaseDir string
	// BaseName is what adapter_config.json says about the base. Defaults to BaseDir.
	BaseName string
	// Training holds the hyper-parameters.
	Training job.Training
	// InitFrom is the folder of the adapter that Training.InitFrom names, which training goes on from. Its modules,
	// ranks and scales must be those that Training asks for; its optimizer is not known any more.
	InitFrom string
	// Rows is the tokenised dataset, for example *dataset.Shards.
	Rows Rows
	// EvalRows are rows for evaluation, none of which is trained. Optional.
	EvalRows Rows
	// Dir is the work folder: checkpoints/step-… and adapter/ (or model/) appear in it.
	Dir string
	// Resume is a checkpoint folder to continue from; empty starts anew.
	Resume string
	// SpecDigest identifies the job; a checkpoint of another one is refused. Defaults to the digest of
	// Training and the rows' number.
	SpecDigest string
	// OnStep hears of every optimizer step. Optional.
	OnStep func(Step)
	// OnEvaluation hears of every evaluation. Optional.
	OnEvaluation func(Evaluation)
	// Alive is called after every micro-batch: the sign of life of a run that computes. Optional.
	Alive func()
	// OnCheckpoint hears of every finished checkpoint; an error of it ends the run. Optional.
	OnCheckpoint func(context.Context, Checkpoint) error
	// Point hears where the run is: "step 3 micro-batch 1", "step 3 updated", "checkpoint 3 adapter", "checkpoint 3
	// optimizer", "checkpoint 3 complete". The run waits for it, so that a test can stop a process there. Optional.
	Point func(ctx context.Context, at string)
	// Logger defaults to slog.Default().
	Logger *slog.Logger

	now func() time.Time // the clock of save_minutes
}

// point tells Point where the run is.
func (c Config) point(ctx context.Context, format string, args ...any) {
	if c.Point != nil {
		c.Point(ctx, fmt.Sprintf(format, args...))
	}
}

// Step is what is known after an optimizer step.
type Step struct {
	// Step counts from 1 to Total.
	Step, Total int
	// Loss is the mean over the trained tokens, in nats, before the update; GradNorm is before clipping.
	Loss, LR, GradNorm float64
	// Tokens counts all tokens so far without padding, TrainedTokens those with a label.
	Tokens, TrainedTokens int64
	// TokensPerSecond is that of the latest steps.
	TokensPerSecond float64
	// ETA is the time until the last step at that speed.
	ETA time.Duration
	// Epoch is the number of passes over the dataset so far.
	Epoch float64
}

// Checkpoint is a folder from which a run continues bit for bit.
type Checkpoint struct {
	Step int
	Dir  string
}

// Result is what a finished run leaves.
type Result struct {
	// AdapterDir holds the adapter in PEFT's format (method lora), ModelDir the whole model (method full).
	AdapterDir, ModelDir string
	Steps                int
	// FirstLoss is that of the first step of this run, FinalLoss that of the last step of the training.
	FirstLoss, FinalLoss float64
	// Tokens and TrainedTokens count over the whole training, also before a resume.
	Tokens, TrainedTokens int64
	// Seconds is the time of the steps of this run, without loading.
	Seconds float64
	// TimeToFirstStep is from the call to the end of the first step.
	TimeToFirstStep time.Duration
	// TokensPerSecond is over all steps of this run but the first, which compiles.
	TokensPerSecond float64
	// PeakRSS is the most memory that the process has had, in bytes.
	PeakRSS int64
	// Compilations is the number of programs compiled, CompileTime what they took.
	Compilations int
	CompileTime  time.Duration
	// MaxLogitDiff is the largest change that the adapter makes to a logit of a row of the dataset (method
	// lora): 0 would mean that it does nothing.
	MaxLogitDiff float64
	// Probe is by what others can tell that they have loaded the adapter (method lora).
	Probe *Probe
	// Evaluation is the last one, or the best one with load_best_model_at_end: that of the result. Nil without rows
	// for evaluation.
	Evaluation *Evaluation
	// TrainedParameters is the number of parameters that were trained.
	TrainedParameters int64
	// DType is what the frozen weights were multiplied in: f32 or bf16, never auto.
	DType string
}

func (c Config) validate() error {
	if c.Device == nil || c.BaseDir == "" || c.Rows == nil || c.Dir == "" {
		return errors.New("train: Device, BaseDir, Rows and Dir must be set")
	}
	if (c.Training.InitFrom == "") != (c.InitFrom == "") {
		return fmt.Errorf("train: Training.InitFrom is %q and its folder %q: set both or none", c.Training.InitFrom, c.InitFrom)
	}
	if problems := c.Training.Validate(); len(problems) > 0 {
		return fmt.Errorf("train: %v", problems)
	}
	return c.checkEvaluation()
}
