package trainer

import (
	"context"
	"fmt"
	"math"
	"path/filepath"

	"descant/pkg/blob"
	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/stage"
	"descant/pkg/train"
)

// chooseRows says which rows are trained and which are evaluated: the shards of eval_dataset, or a part of the rows
// that the seed chooses, or none (nil).
func chooseRows(t job.Training, shards, evalShards *dataset.Shards) (rows, eval train.Rows, err error) {
	switch {
	case evalShards != nil:
		return shards, evalShards, nil
	case t.ValSize == 0:
		return shards, nil, nil
	}
	training, test, err := splitRows(t, shards)
	if err != nil {
		return nil, nil, err
	}
	return shards.Subset(training), shards.Subset(test), nil
}

// splitRows takes val_size of the different rows for evaluation. Copies of a row (a weight above 1 makes them, too) stay
// together: they are all trained, or the first of them is evaluated.
func splitRows(t job.Training, data rows) (training, test []int, err error) {
	group := make([]int, data.Len())
	var firsts []int
	known := map[uint64]int{}
	for i := range group {
		ids, labels := data.Row(i)
		key := hash(ids, labels)
		g, ok := known[key]
		if !ok {
			g = len(firsts)
			known[key], firsts = g, append(firsts, i)
		}
		group[i] = g
	}
	count, err := t.EvalCount(len(firsts))
	if err != nil {
		return nil, nil, err
	}
	_, chosen := dataset.Split(len(firsts), count, t.Seed)
	evaluated := make([]bool, len(firsts))
	for _, g := range chosen {
		evaluated[g] = true
		test = append(test, firsts[g])
	}
	for i, g := range group {
		if !evaluated[g] {
			training = append(training, i)
		}
	}
	return training, test, nil
}

// hash is FNV-1a over 32-bit words.
func hash(lists ...[]int32) uint64 {
	h := uint64(0xcbf29ce484222325)
	for _, list := range lists {
		for _, v := range list {
			h = (h ^ uint64(uint32(v))) * 0x100000001b3
		}
	}
	return h
}

// openShards brings tokenized rows here.
func (s *Service) openShards(ctx context.Context, key, digest, dir string) (*dataset.Shards, error) {
	folder, err := stage.GetFolder(ctx, s.deps.Objects, key)
	if err != nil {
		return nil, job.AsError("fetch the tokenized rows", err)
	}
	if folder.Digest() != digest {
		return nil, job.BugError("fetch the tokenized rows", fmt.Errorf("they are not those that the tokenizer stored: %w", blob.ErrDigest))
	}
	paths, err := folder.Fetch(ctx, s.deps.Objects, key, filepath.Join(dir))
	if err != nil {
		return nil, err
	}
	shards, err := dataset.OpenShards(paths)
	if err != nil {
		return nil, job.BugError("open the tokenized rows", err)
	}
	return shards, nil
}

func evaluationMessage(e train.Evaluation) *pb.Evaluation {
	return &pb.Evaluation{
		Step: uint32(e.Step), Loss: e.Loss, BaseLoss: e.Base, BestLoss: e.Best, BestStep: uint32(e.BestStep),
		Rows: uint32(e.Rows), Tokens: int64(e.Tokens), Worse: uint32(e.Worse), Stop: e.Stop, Seconds: e.Took.Seconds(),
	}
}

// evalMetrics are the numbers of an evaluation in a manifest.
func evalMetrics(metrics map[string]float64, e *train.Evaluation) {
	if e == nil {
		return
	}
	metrics["eval_loss"], metrics["eval_perplexity"] = e.Loss, math.Exp(e.Loss)
	metrics["base_eval_loss"], metrics["best_eval_loss"] = e.Base, e.Best
	metrics["best_step"], metrics["published_step"] = float64(e.BestStep), float64(e.Step)
	metrics["eval_rows"], metrics["eval_tokens"] = float64(e.Rows), float64(e.Tokens)
}

// evalWarning says that the training made the model worse on the rows for evaluation, or "".
func evalWarning(e *train.Evaluation) string {
	if e == nil || e.Loss <= e.Base {
		return ""
	}
	return fmt.Sprintf("the result is worse than the base on the rows for evaluation: loss %.4f after %d steps, %.4f before; "+
		"train fewer steps, lower learning_rate, or set early_stopping_patience and load_best_model_at_end", e.Loss, e.Step, e.Base)
}
