package tokenizer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"descant/pkg/blob"
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
	enc, err := OpenEncoder(base.Dir, a.Spec.Model)
	if err != nil {
		return err
	}
	defer enc.Close()
	files, err := s.fetchAll(ctx, a.Spec, dir)
	if err != nil {
		return err
	}
	input := newShardInput(a.Spec.Training, files, enc)
	folder, err := stage.GetFolder(ctx, s.deps.Objects, input.prefix())
	if err == nil {
		return s.done(ctx, a, base, input, folder, "rows were tokenized before, nothing to do")
	}
	if !errors.Is(err, blob.ErrNotFound) {
		return err
	}
	return s.make(ctx, a, base, enc, files, input, filepath.Join(dir, "shards"))
}

// make validates and tokenizes the rows and stores the shards.
func (s *Service) make(ctx context.Context, a *stage.Attempt, base registry.Base, enc *Encoder, files []rowsFile, input shardInput, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return job.InfrastructureError(job.CodeStore, "make work folder", err)
	}
	if job.State(a.Job().GetState()) != job.StateTokenizing {
		if err := a.Move(ctx, job.StateTokenizing, "", nil); err != nil {
			return err
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
		return refused.userError()
	}
	if err != nil {
		return err
	}
	info := shardInfo{Input: input}
	for _, part := range made {
		info.Parts = append(info.Parts, result(*part))
	}
	folder, err := stage.PutFolder(ctx, s.deps.Objects, input.prefix(), dir, info)
	if err != nil {
		return err
	}
	rows, tokens, trained, _ := info.totals()
	return s.done(ctx, a, base, input, folder, fmt.Sprintf("%d rows, %d tokens, %d of them trained", rows, tokens, trained))
}

// done hands the job on to the trainers.
func (s *Service) done(ctx context.Context, a *stage.Attempt, base registry.Base, input shardInput, folder stage.Folder, message string) error {
	var info shardInfo
	if err := json.Unmarshal(folder.Info, &info); err != nil {
		return job.BugError("read manifest of "+input.prefix(), err)
	}
	rows, _, _, skipped := info.totals()
	return a.Move(ctx, job.StateQueued, message, func(j *pb.Job) {
		j.Artifacts = &pb.Artifacts{
			DatasetDigest: input.dataset(), BaseDigest: base.Digest,
			TokenizedKey: input.prefix(), TokenizedDigest: folder.Digest(),
			Rows: uint32(rows), SkippedRows: uint32(skipped),
			Files: map[string]string{"tokenizer": input.Tokenizer, "template": input.Template},
		}
		j.Warnings = info.warnings()
	})
}
