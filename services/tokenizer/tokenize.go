package tokenizer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"descant/pkg/blob"
	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
	"descant/pkg/stage"
)

// shardFormat is part of every key: a change of how rows become ids raises it.
const shardFormat = "descant-shards-2"

// tokenize is the work of the stage.
func (s *Service) tokenize(ctx context.Context, a *stage.Attempt) error {
	dir, err := os.MkdirTemp(s.cfg.WorkDir, a.ID()+"-*")
	if err != nil {
		return job.InfrastructureError(job.CodeStore, "make work folder", err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
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
	file, err := s.fetch(ctx, a.Spec, dir)
	if err != nil {
		return err
	}
	input := shardInput{
		Format: shardFormat, Dataset: file.digest, Tokenizer: enc.Digest(), Template: enc.TemplateDigest(),
		MaxLength: a.Spec.Training.MaxLength, LossOn: a.Spec.Training.LossOn,
	}
	folder, err := stage.GetFolder(ctx, s.deps.Objects, input.prefix())
	if err == nil {
		return s.done(ctx, a, base, input, folder, "rows were tokenized before, nothing to do")
	}
	if !errors.Is(err, blob.ErrNotFound) {
		return err
	}
	return s.make(ctx, a, base, enc, file, input, filepath.Join(dir, "shards"))
}

// make validates and tokenizes the rows and stores the shards.
func (s *Service) make(ctx context.Context, a *stage.Attempt, base registry.Base, enc *Encoder, file rowsFile, input shardInput, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return job.InfrastructureError(job.CodeStore, "make work folder", err)
	}
	if job.State(a.Job().GetState()) != job.StateTokenizing {
		if err := a.Move(ctx, job.StateTokenizing, "", nil); err != nil {
			return err
		}
	}
	rows, err := file.reader()
	if err != nil {
		return err
	}
	defer rows.Close()
	made, err := dataset.Tokenise(ctx, dataset.NewReader(rows, file.name, dataset.ReadOptions{}), enc.Encode, dir, dataset.TokeniseOptions{
		LossOn: input.LossOn, MaxLength: input.MaxLength, Metadata: input.metadata(),
		Progress: func(dataset.Progress) { a.Sign() },
	})
	if err != nil {
		return datasetError(err)
	}
	folder, err := stage.PutFolder(ctx, s.deps.Objects, input.prefix(), dir, shardInfo{Input: input, Result: result(*made)})
	if err != nil {
		return err
	}
	return s.done(ctx, a, base, input, folder, fmt.Sprintf("%d rows, %d tokens, %d of them trained", made.Rows, made.Tokens, made.TrainedTokens))
}

// done hands the job on to the trainers.
func (s *Service) done(ctx context.Context, a *stage.Attempt, base registry.Base, input shardInput, folder stage.Folder, message string) error {
	var info shardInfo
	if err := json.Unmarshal(folder.Info, &info); err != nil {
		return job.BugError("read manifest of "+input.prefix(), err)
	}
	return a.Move(ctx, job.StateQueued, message, func(j *pb.Job) {
		j.Artifacts = &pb.Artifacts{
			DatasetDigest: input.Dataset, BaseDigest: base.Digest,
			TokenizedKey: input.prefix(), TokenizedDigest: folder.Digest(),
			Rows: uint32(info.Result.Rows), SkippedRows: uint32(info.Result.LeftOut.Count + info.Result.Report.LeftOut.Count),
			Files: map[string]string{"tokenizer": input.Tokenizer, "template": input.Template},
		}
		j.Warnings = info.Result.warnings()
	})
}

// shardInput is everything that shards depend on; its digest is their key.
type shardInput struct {
	Format    string `json:"format"`
	Dataset   string `json:"dataset"`
	Tokenizer string `json:"tokenizer"`
	Template  string `json:"template"`
	MaxLength int    `json:"max_length"`
	LossOn    string `json:"loss_on"`
}

func (in shardInput) prefix() string {
	data, err := json.Marshal(in)
	if err != nil {
		panic(err) // strings and numbers always have a JSON form
	}
	return "tokenized/" + strings.TrimPrefix(blob.Digest(data), "sha256:")
}

// metadata goes into every shard, so that one that is found alone still says what it is.
func (in shardInput) metadata() map[string]string {
	return map[string]string{
		"descant.dataset": in.Dataset, "descant.tokenizer": in.Tokenizer, "descant.template": in.Template,
	}
}

// shardInfo is what the manifest tells about the shards.
type shardInfo struct {
	Input  shardInput `json:"input"`
	Result result     `json:"result"`
}

// result is dataset.Result with the warnings that people should see.
type result dataset.Result

func (r result) warnings() []string {
	var list []string
	add := func(n int, notes dataset.Notes, what string) {
		if n > 0 {
			list = append(list, fmt.Sprintf("%d rows %s: lines %s", n, what, notes.Lines))
		}
	}
	add(r.Truncated.Count, r.Truncated, "were longer than max_length and were cut")
	add(r.LeftOut.Count, r.LeftOut, "were left out, nothing in them can be trained")
	add(r.Report.LeftOut.Count, r.Report.LeftOut, "were left out, they have no answer to train on")
	if r.Report.Repeats > 0 {
		list = append(list, fmt.Sprintf("%d rows repeat an earlier one; they were kept", r.Report.Repeats))
	}
	for key, n := range r.Report.UnknownKeys {
		list = append(list, fmt.Sprintf("key %q in %d rows means nothing for training", key, n))
	}
	return append(list, r.Report.Remarks...)
}
