package train

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"descant/pkg/model"
	"descant/pkg/safetensors"
)

// Evaluation is what is known after the rows for evaluation were looked at.
type Evaluation struct {
	// Step is the number of finished steps; 0 is the bare base.
	Step int
	// Loss is the mean over the labelled tokens of all rows, in nats, without dropout and noise. Base is that of the
	// bare base, Best the smallest of this training so far, reached after BestStep steps.
	Loss, Base, Best float64
	BestStep         int
	// Rows and Tokens say what it was measured on.
	Rows, Tokens int
	// Worse counts the evaluations since the last one that was better by the threshold; Stop says that training ends
	// because of them.
	Worse int
	Stop  bool
	// Took is the time that the evaluation took.
	Took time.Duration
}

// evalState is what a checkpoint keeps of the evaluations.
type evalState struct {
	Base     float64 `json:"base"`
	Count    int     `json:"count"`
	Step     int     `json:"step"`
	Loss     float64 `json:"loss"`
	Best     float64 `json:"best"`
	BestStep int     `json:"best_step"`
	Worse    int     `json:"worse"`
	Stopped  bool    `json:"stopped"`
}

// bestFile holds the parameters of the best evaluation, in the work folder and in every checkpoint after it.
const bestFile = "best.safetensors"

// take keeps the books of an evaluation as the Trainer and its EarlyStoppingCallback do: what is smaller is the best,
// what is not smaller by more than the threshold costs patience. patience 0 never stops.
func (s *evalState) take(step int, loss float64, patience int, threshold float64) (best bool) {
	if s.Count == 0 || s.Best-loss > threshold {
		s.Worse = 0
	} else {
		s.Worse++
	}
	if best = s.Count == 0 || loss < s.Best; best {
		s.Best, s.BestStep = loss, step
	}
	s.Count++
	s.Step, s.Loss = step, loss
	s.Stopped = patience > 0 && s.Worse >= patience
	return best
}

// checkEvaluation refuses settings that mean nothing without rows to evaluate.
func (c Config) checkEvaluation() error {
	t := c.Training
	switch {
	case c.EvalRows != nil && c.EvalRows.Len() == 0:
		return errors.New("train: there are no rows for evaluation")
	case c.EvalRows == nil && (t.EvalSteps > 0 || t.EarlyStoppingPatience > 0 || t.LoadBestModelAtEnd):
		return errors.New("train: eval_steps, early_stopping_patience and load_best_model_at_end need rows for evaluation")
	}
	return nil
}

// prepareEvaluation lays out the rows for evaluation.
func (r *run) prepareEvaluation(base *model.Config) error {
	if r.cfg.EvalRows == nil {
		return nil
	}
	size := r.cfg.Training.PerDeviceEvalBatchSize
	if size == 0 {
		size = r.cfg.Training.PerDeviceTrainBatchSize
	}
	var err error
	r.evalBatches, err = lines(r.cfg.EvalRows, func(int) int { return size }, r.cfg.Training.MaxLength, base.Vocab)
	if err == nil && !slices.ContainsFunc(r.evalBatches, func(b *microBatch) bool { return len(b.places) > 0 }) {
		err = errUntrained
	}
	if err != nil {
		return fmt.Errorf("rows for evaluation: %w", err)
	}
	return nil
}

// lines lays all rows out, rows of similar length together, the longest first. together says how many share a line whose
// longest has so many tokens.
func lines(rows Rows, together func(longest int) int, maxLength, vocab int) ([]*microBatch, error) {
	b, err := checkedBatches(rows, 0, 1, 1, maxLength, vocab)
	if err != nil {
		return nil, err
	}
	order := make([]int, rows.Len())
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, k int) int { return cmp.Compare(b.length(k), b.length(i)) })
	var parts [][]int
	for len(order) > 0 {
		n := min(together(b.length(order[0])), len(order))
		parts, order = append(parts, order[:n]), order[n:]
	}
	b.sizes = b.sizesFor(parts, len(parts))
	list := make([]*microBatch, len(parts))
	for i, part := range parts {
		list[i] = b.line(part, together(b.length(part[0])))
	}
	return list, nil
}

// assess evaluates when it is time: the bare base before the first step, then every eval_steps and after the last
// one. What was done before a resume is not done again. A cancelled ctx ends it with its cause.
func (r *run) assess(ctx context.Context) error {
	if r.cfg.EvalRows == nil {
		return nil
	}
	if r.state.Eval == nil {
		start := time.Now()
		loss, err := r.evalLoss(ctx, bare{r.engine.target})
		if err != nil {
			return err
		}
		r.state.Eval = &evalState{Base: loss}
		r.tellEvaluation(Evaluation{Loss: loss, Took: time.Since(start)})
	}
	s, t := r.state.Eval, r.cfg.Training
	due := r.state.Step == r.state.Total || t.EvalSteps > 0 && r.state.Step%t.EvalSteps == 0
	if r.state.Step == 0 || s.Step == r.state.Step || !due {
		return nil
	}
	start := time.Now()
	loss, err := r.evalLoss(ctx, quiet{r.engine.target})
	if err != nil {
		return err
	}
	if s.take(r.state.Step, loss, t.EarlyStoppingPatience, t.EarlyStoppingThreshold) && t.LoadBestModelAtEnd {
		if err := r.keepBest(); err != nil {
			return err
		}
	}
	r.tellEvaluation(Evaluation{Step: s.Step, Loss: loss, Best: s.Best, BestStep: s.BestStep, Worse: s.Worse, Stop: s.Stopped, Took: time.Since(start)})
	return nil
}

func (r *run) tellEvaluation(e Evaluation) {
	e.Base, e.Rows = r.state.Eval.Base, r.cfg.EvalRows.Len()
	for _, b := range r.evalBatches {
		e.Tokens += len(b.places)
	}
	r.cfg.Logger.Info("evaluated", "step", e.Step, "eval_loss", e.Loss, "base_eval_loss", e.Base, "rows", e.Rows, "stop", e.Stop)
	if r.cfg.OnEvaluation != nil {
		r.cfg.OnEvaluation(e)
	}
}

// evalLoss is the mean loss of all rows for evaluation.
func (r *run) evalLoss(ctx context.Context, t target) (float64, error) {
	total, tokens := 0.0, 0
	for _, b := range r.evalBatches {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		nll, err := r.engine.evaluateOn(b, t)
		if err != nil {
			return 0, fmt.Errorf("train: evaluate after step %d: %w", r.state.Step, err)
		}
		total += sum(nll)
		tokens += len(b.places)
		if r.cfg.Alive != nil {
			r.cfg.Alive()
		}
	}
	loss := total / float64(max(1, tokens))
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return 0, &NotFiniteError{Step: r.state.Step, What: "evaluation loss", Value: loss}
	}
	return loss, nil
}

// keepBest writes the parameters into the work folder.
func (r *run) keepBest() error {
	values, err := r.engine.dump(map[string]func(*group) *model.Array{"": func(g *group) *model.Array { return g.value }})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(r.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("keep the best parameters: %w", err)
	}
	r.best = filepath.Join(r.cfg.Dir, bestFile)
	return safetensors.Write(r.best, values, nil)
}

// takeBest goes back to the best parameters at the end of the training.
func (r *run) takeBest() error {
	s := r.state.Eval
	if s == nil || !r.cfg.Training.LoadBestModelAtEnd || s.Count == 0 || s.BestStep == r.state.Step {
		return nil
	}
	file, err := safetensors.Open(r.best)
	if err != nil {
		return fmt.Errorf("load the best parameters: %w", err)
	}
	defer file.Close()
	for _, g := range r.engine.groups() {
		if err := r.engine.load(file, g.name, &g.value); err != nil {
			return fmt.Errorf("load the best parameters: %w", err)
		}
	}
	return nil
}

// sumUp writes what the evaluations came to into the result.
func (r *run) sumUp() {
	s := r.state.Eval
	if s == nil || s.Count == 0 {
		return
	}
	e := &Evaluation{Step: s.Step, Loss: s.Loss, Base: s.Base, Best: s.Best, BestStep: s.BestStep, Worse: s.Worse, Stop: s.Stopped, Rows: r.cfg.EvalRows.Len()}
	for _, b := range r.evalBatches {
		e.Tokens += len(b.places)
	}
	if r.cfg.Training.LoadBestModelAtEnd {
		e.Step, e.Loss = s.BestStep, s.Best
	}
	r.result.Evaluation = e
}
