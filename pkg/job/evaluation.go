package job

import (
	"fmt"
	"math"
	"strconv"
)

// evaluation checks the settings of evaluation that need nothing else to be judged.
func (c *checker) evaluation(t Training) {
	c.floatRange("val_size", t.ValSize, 0, 1e9, "0 (off), a share between 0 and 1, or a number of rows")
	if t.ValSize > 1 && t.ValSize != math.Trunc(t.ValSize) {
		c.add("val_size", formatFloat(t.ValSize), "is neither a share nor a whole number of rows", "use for example 0.1 or 200")
	}
	c.intRange("eval_steps", t.EvalSteps, 0, maxSteps)
	c.intRange("per_device_eval_batch_size", t.PerDeviceEvalBatchSize, 0, maxBatch)
	c.intRange("early_stopping_patience", t.EarlyStoppingPatience, 0, maxSteps)
	c.floatRange("early_stopping_threshold", t.EarlyStoppingThreshold, 0, 1e6, "0 or above")
	if t.EarlyStoppingPatience > 0 && t.EvalSteps == 0 {
		c.add("early_stopping_patience", strconv.Itoa(t.EarlyStoppingPatience), "needs evaluations during the training", "set eval_steps")
	}
	if t.EarlyStoppingThreshold > 0 && t.EarlyStoppingPatience == 0 {
		c.add("early_stopping_threshold", formatFloat(t.EarlyStoppingThreshold), "has no effect alone", "set early_stopping_patience")
	}
	if t.LoadBestModelAtEnd && t.EvalSteps == 0 {
		c.add("load_best_model_at_end", "true", "needs evaluations during the training", "set eval_steps")
	}
}

// validateEvaluation checks where the rows for evaluation come from.
func (r *Request) validateEvaluation() (found []Problem) {
	switch t := r.Training; {
	case r.EvalDataset != "" && t.ValSize > 0:
		found = append(found, Problem{Field: "val_size", Found: formatFloat(t.ValSize), Reason: "stands beside eval_dataset", Next: "give only one of the two"})
	case r.EvalDataset == "" && t.ValSize == 0 && t.EvalSteps > 0:
		found = append(found, Problem{Field: "eval_steps", Found: strconv.Itoa(t.EvalSteps), Reason: "there are no rows for evaluation", Next: "set eval_dataset or val_size"})
	case r.EvalDataset == "" && t.ValSize == 0 && t.PerDeviceEvalBatchSize > 0:
		found = append(found, Problem{Field: "per_device_eval_batch_size", Found: strconv.Itoa(t.PerDeviceEvalBatchSize), Reason: "there are no rows for evaluation", Next: "set eval_dataset or val_size"})
	}
	return found
}

// EvalCount is the number of rows that val_size takes from n different ones for evaluation: a share is rounded up, as datasets'
// train_test_split does. It is an error when none would be left for training.
func (t Training) EvalCount(n int) (int, error) {
	count := int(t.ValSize)
	if t.ValSize < 1 {
		count = int(math.Ceil(t.ValSize * float64(n)))
	}
	if count >= n {
		return 0, UserError(CodeBadRequest, fmt.Sprintf("val_size %g takes all %d different rows for evaluation", t.ValSize, n), "lower val_size, or use more rows")
	}
	return count, nil
}
