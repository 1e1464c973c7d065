package trainer

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"descant/pkg/bus"
	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/model"
	"descant/pkg/pb"
	"descant/pkg/registry"
	"descant/pkg/stage"
	"descant/pkg/train"
)

// train is the work of the stage.
func (s *Service) train(ctx context.Context, a *stage.Attempt) error {
	// A worker may have died between publishing and recording it.
	if done, ok, err := s.deps.Registry.PublishedBy(ctx, a.Spec.Name, a.ID()); err != nil {
		return err
	} else if ok {
		return s.succeed(ctx, a, done, a.Job().GetProgress())
	}
	if err := s.able(a.Spec.Training); err != nil {
		return err
	}
	work, err := stage.NewWorkFolder(s.cfg.WorkDir, a.ID())
	if err != nil {
		return err
	}
	dir := work.Dir
	defer func() {
		if err := work.Remove(); err != nil {
			a.Log().Warn("work folder stays", "dir", dir, "error", err)
		}
	}()
	run, err := s.prepare(ctx, a, dir)
	if err != nil {
		return err
	}
	result, progress, err := s.learn(ctx, a, run)
	if err != nil {
		return err
	}
	return s.publish(ctx, a, run, result, progress)
}

// able refuses what another trainer can do and this one can't, before anything is brought here: the job waits for such a
// one, and its record says so.
func (s *Service) able(t job.Training) error {
	if errors.Is(train.CheckDevice(s.deps.Device, t), model.ErrNoBF16) {
		return job.RefusedError(job.CodeNotReady, "this trainer computes in pure Go, which has no bf16: the job waits for a trainer with XLA "+
			"(`make setup` on its machine installs it); to train here, cancel it and ask for dtype f32 or auto", "", 0)
	}
	return nil
}

// prepared is what a training needs, on this machine.
type prepared struct {
	base        registry.Base
	shards      *dataset.Shards
	rows        train.Rows // of the shards, those that are trained
	eval        train.Rows // rows for evaluation, or nil
	dir         string     // work folder
	parent      string     // folder of the adapter to go on from, or ""
	checkpoints *checkpoints
	resume      resumed
}

// prepare brings base, shards and checkpoint here and moves the job to training.
func (s *Service) prepare(ctx context.Context, a *stage.Attempt, dir string) (run prepared, err error) {
	run.dir = dir
	artifacts := a.Job().GetArtifacts()
	run.base, err = s.deps.Bases.Base(ctx, a.Spec.Model)
	if err != nil {
		return run, err
	}
	if run.base.Digest != artifacts.GetBaseDigest() {
		return run, job.UserError(job.CodeBadModel, fmt.Sprintf("model %s has digest %s here, the rows were tokenized with %s", a.Spec.Model, run.base.Digest, artifacts.GetBaseDigest()),
			"it has changed since the request, or this machine holds another copy: name a revision (org/name@revision) and send the request again")
	}
	run.shards, err = s.openShards(ctx, artifacts.GetTokenizedKey(), artifacts.GetTokenizedDigest(), filepath.Join(dir, "shards"))
	if err != nil {
		return run, err
	}
	var evalShards *dataset.Shards
	if key := artifacts.GetEvalTokenizedKey(); key != "" {
		if evalShards, err = s.openShards(ctx, key, artifacts.GetEvalTokenizedDigest(), filepath.Join(dir, "eval-shards")); err != nil {
			return run, err
		}
	}
	if run.rows, run.eval, err = chooseRows(a.Spec.Training, run.shards, evalShards); err != nil {
		return run, err
	}
	if run.parent, err = s.parent(ctx, a, run); err != nil {
		return run, err
	}
	run.checkpoints = s.checkpoints(a)
	if run.resume, err = run.checkpoints.resume(ctx, dir); err != nil {
		return run, err
	}
	return run, s.begin(ctx, a, run.resume)
}

// begin moves the job to training and tells from where it goes on.
func (s *Service) begin(ctx context.Context, a *stage.Attempt, from resumed) error {
	message := "training starts"
	if from.dir != "" {
		message = fmt.Sprintf("training goes on after step %d", from.saved.Step)
		if here := s.deps.Device.Name(); from.saved.Device != "" && from.saved.Device != here {
			from.warnings = append(from.warnings, fmt.Sprintf("up to step %d it was trained on %s, now on %s: the numbers may differ in their last bits from those of one device",
				from.saved.Step, from.saved.Device, here))
		}
	}
	var events []*pb.Event
	for _, warning := range from.warnings {
		events = append(events, &pb.Event{Type: bus.EventLog, Level: "warn", Message: warning})
	}
	return a.Move(ctx, job.StateTraining, message, func(j *pb.Job) {
		if j.StartedAt == nil {
			j.StartedAt = bus.Timestamp(time.Now())
		}
		for _, warning := range from.warnings {
			if !slices.Contains(j.Warnings, warning) { // an attempt before may have met the same
				j.Warnings = append(j.Warnings, warning)
			}
		}
	}, events...)
}

// learn runs the training and returns its result and last step.
func (s *Service) learn(ctx context.Context, a *stage.Attempt, run prepared) (*train.Result, *pb.Step, error) {
	reports := newReporter(a, a.Spec.Training.LoggingSteps)
	reporting, stopReporting := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() { defer close(ended); reports.run(reporting) }()
	training, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	// A person's pause and the worker's end let the step finish and store a checkpoint; anything else
	// breaks off.
	detach := context.AfterFunc(ctx, func() {
		cause := context.Cause(ctx)
		if errors.Is(cause, stage.ErrPaused) || errors.Is(cause, stage.ErrStopping) {
			cause = train.ErrStop
		}
		cancel(cause)
	})
	result, err := train.Run(training, train.Config{
		Device: s.deps.Device, BaseDir: run.base.Dir, BaseName: a.Spec.Model, Training: a.Spec.Training, InitFrom: run.parent,
		Rows: run.rows, EvalRows: run.eval, Dir: run.dir, Resume: run.resume.dir, SpecDigest: run.checkpoints.digest, Logger: a.Log(),
		Alive:        a.Sign,
		Point:        func(ctx context.Context, at string) { s.point(ctx, a.ID(), at) },
		OnStep:       func(step train.Step) { reports.step(stepMessage(step)) },
		OnEvaluation: func(e train.Evaluation) { reports.evaluation(evaluationMessage(e)) },
		OnCheckpoint: func(ctx context.Context, c train.Checkpoint) error {
			return run.checkpoints.store(ctx, c, reports)
		},
	})
	detach()
	cancel(nil)
	stopReporting()
	<-ended
	if err == nil {
		reports.last()
	}
	flushErr := reports.flush(context.WithoutCancel(ctx)) // each event has its own limit of time
	if err != nil {
		if flushErr != nil {
			a.Log().Warn("the last step events are missing", "error", flushErr)
		}
		return nil, nil, trainError(ctx, a, err)
	}
	if flushErr != nil { // the report would lack steps that the adapter has
		return nil, nil, job.InfrastructureError(job.CodeBus, "report the last steps", flushErr)
	}
	return result, reports.progress(), nil
}

// trainError classes an error of the training.
func trainError(ctx context.Context, a *stage.Attempt, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return errors.Join(cause, err)
	}
	var diverged *train.NotFiniteError
	if errors.As(err, &diverged) {
		return divergence(a.Spec, a.Job().GetCheckpoint(), diverged)
	}
	return job.AsError("train", err)
}

func stepMessage(s train.Step) *pb.Step {
	return &pb.Step{
		Step: uint32(s.Step), Total: uint32(s.Total), Loss: s.Loss, Lr: s.LR, GradNorm: s.GradNorm,
		Tokens: s.Tokens, TrainedTokens: s.TrainedTokens, TokensPerSecond: s.TokensPerSecond,
		Eta: s.ETA.Seconds(), Epoch: s.Epoch,
	}
}
