package tokenizer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
	"descant/pkg/stage"
)

// tokenize is the work of the stage.
func (s *Service) tokenize(ctx context.Context, a *stage.Attempt) error {
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
	if state := job.State(a.Job().GetState()); state == job.StateReceived {
		if err := a.Move(ctx, job.StateValidating, "looking at the base and the rows", nil); err != nil {
			return err
		}
	}
	base, err := s.deps.Bases.Base(ctx, a.Spec.Model)
	if err != nil {
		return err
	}
	if err := checkModel(base.Dir, a.Spec); err != nil {
		return err
	}
	if err := s.checkParent(ctx, base, a.Spec); err != nil {
		return err
	}
	enc, err := OpenEncoder(base.Dir, a.Spec.Model)
	if err != nil {
		return err
	}
	defer enc.Close()
	var eval *shardSet
	var leaks *leaks
	if part := a.Spec.EvalDataset; part != nil {
		leaks = newLeaks(a.Spec)
		if eval, err = s.set(ctx, a, enc, []job.SpecDataset{*part}, filepath.Join(dir, "eval"), leaks.add); err != nil {
			return err
		}
	}
	train, err := s.set(ctx, a, enc, a.Spec.Parts(), filepath.Join(dir, "train"), leaks.see())
	if err != nil {
		return err
	}
	return s.done(ctx, a, base, train, eval, leaks)
}

// shardSet are datasets as shards in the object store.
type shardSet struct {
	input  shardInput
	folder stage.Folder
	info   shardInfo
	fresh  bool // made now
}

// set finds the shards of datasets or makes them. each, which may be nil, hears of every row.
func (s *Service) set(ctx context.Context, a *stage.Attempt, enc *Encoder, parts []job.SpecDataset, dir string, each func(file string, row dataset.Row)) (*shardSet, error) {
	if err := os.MkdirAll(filepath.Join(dir, "shards"), 0o755); err != nil {
		return nil, job.InfrastructureError(job.CodeStore, "make work folder", err)
	}
	files, err := s.fetchAll(ctx, parts, dir)
	if err != nil {
		return nil, err
	}
	if each != nil {
		for i, file := range files {
			files[i].Each = func(row dataset.Row) { each(file.Name, row) }
		}
	}
	set := &shardSet{input: newShardInput(a.Spec.Training, files, enc)}
	set.folder, err = stage.GetFolder(ctx, s.deps.Objects, set.input.prefix())
	if errors.Is(err, blob.ErrNotFound) {
		set.fresh = true
		set.folder, err = s.make(ctx, a, enc, files, set.input, filepath.Join(dir, "shards"))
	} else if err == nil && each != nil {
		err = readRows(ctx, a, files)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(set.folder.Info, &set.info); err != nil {
		return nil, job.BugError("read manifest of "+set.input.prefix(), err)
	}
	return set, nil
}

// make validates and tokenizes the rows and stores the shards.
func (s *Service) make(ctx context.Context, a *stage.Attempt, enc *Encoder, files []rowsFile, input shardInput, dir string) (folder stage.Folder, err error) {
	if job.State(a.Job().GetState()) != job.StateTokenizing {
		if err := a.Move(ctx, job.StateTokenizing, "", nil); err != nil {
			return folder, err
		}
	}
	opts := TokeniseOptions(a.Spec.Training)
	opts.Metadata = input.metadata()
	opts.Progress = func(dataset.Progress) { a.Sign() }
	parts := make([]Part, len(files))
	for i, file := range files {
		parts[i] = file.Part
	}
	made, err := enc.Tokenise(ctx, parts, a.Spec.Training, dir, opts)
	var refused RefusedError
	if errors.As(err, &refused) {
		return folder, refused.userError()
	}
	if err != nil {
		return folder, err
	}
	info := shardInfo{Input: input}
	for _, part := range made {
		info.Parts = append(info.Parts, result(*part))
	}
	return stage.PutFolder(ctx, s.deps.Objects, input.prefix(), dir, info)
}

// message says what there is now.
func (s *shardSet) message() string {
	if !s.fresh {
		return "rows were tokenized before, nothing to do"
	}
	rows, tokens, trained, _ := s.info.totals()
	return fmt.Sprintf("%d rows, %d tokens, %d of them trained", rows, tokens, trained)
}

// done hands the job on to the trainers. eval and leaks are nil without a dataset for evaluation.
func (s *Service) done(ctx context.Context, a *stage.Attempt, base registry.Base, train, eval *shardSet, leaks *leaks) error {
	rows, _, _, skipped := train.info.totals()
	artifacts := &pb.Artifacts{
		DatasetDigest: train.input.dataset(), BaseDigest: base.Digest,
		TokenizedKey: train.input.prefix(), TokenizedDigest: train.folder.Digest(),
		Rows: uint32(rows), SkippedRows: uint32(skipped),
		Files: map[string]string{"tokenizer": train.input.Tokenizer, "template": train.input.Template},
	}
	message, warnings := train.message(), train.info.warnings()
	var events []*pb.Event
	if eval != nil {
		rows, _, _, _ := eval.info.totals()
		artifacts.EvalDatasetDigest, artifacts.EvalRows = eval.input.dataset(), uint32(rows)
		artifacts.EvalTokenizedKey, artifacts.EvalTokenizedDigest = eval.input.prefix(), eval.folder.Digest()
		message += "; for evaluation: " + eval.message()
		for _, w := range eval.info.warnings() {
			warnings = append(warnings, "eval_dataset: "+w)
		}
		found := leaks.check.Result()
		artifacts.Leak = leakMessage(found)
		event := &pb.Event{Type: bus.EventLog, Level: "info", Message: leakText(found)}
		if found.Leaked > 0 {
			event.Level = "warn"
			warnings = append(warnings, event.Message)
		}
		events = append(events, event)
	}
	return a.Move(ctx, job.StateQueued, message, func(j *pb.Job) { j.Artifacts, j.Warnings = artifacts, warnings }, events...)
}
