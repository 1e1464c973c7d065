package tokenizer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/stage"
)

// mostCompared bounds the memory of looking for rows of eval_dataset among the training rows; that more were not compared
// is told.
const mostCompared = 1 << 18

// leaks looks for rows of eval_dataset among the training rows of a job.
type leaks struct {
	check   *dataset.LeakCheck
	several bool // datasets are trained
}

func newLeaks(spec job.Spec) *leaks {
	return &leaks{check: dataset.StartLeakCheck(spec.EvalDataset.File(), mostCompared), several: len(spec.Parts()) > 1}
}

// add takes a row for evaluation.
func (l *leaks) add(_ string, row dataset.Row) { l.check.Add(row) }

// see compares training rows; nil without a dataset for evaluation.
func (l *leaks) see() func(file string, row dataset.Row) {
	switch {
	case l == nil:
		return nil
	case l.several:
		return l.check.SeeIn
	}
	return func(_ string, row dataset.Row) { l.check.See(row) }
}

// readRows reads rows whose shards are there already, for those who want to hear of them.
func readRows(ctx context.Context, a *stage.Attempt, files []rowsFile) error {
	for _, file := range files {
		each := file.chosen(TokeniseOptions(a.Spec.Training))
		if err := readFile(ctx, a, file, each); err != nil {
			return fmt.Errorf("read dataset %s: %w", file.Name, err)
		}
	}
	return nil
}

func readFile(ctx context.Context, a *stage.Attempt, file rowsFile, each func(dataset.Row)) error {
	in, err := os.Open(file.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	rows := dataset.NewReader(in, file.Name, ReadOptions(a.Spec.Training))
	for n := 0; ; n++ {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n%1000 == 0 {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			a.Sign()
		}
		each(row)
	}
}

func leakMessage(l *dataset.Leak) *pb.Leak {
	return &pb.Leak{EvalRows: uint32(l.Rows), Leaked: uint32(l.Leaked), SameRow: uint32(l.SameRow), SameQuestion: uint32(l.SameQuestion), NotCompared: uint32(l.NotCompared)}
}

// leakText says in words what was found, with the first rows.
func leakText(l *dataset.Leak) string {
	const first = 10
	limit := ""
	if l.NotCompared > 0 {
		limit = fmt.Sprintf(" (the first %d were compared)", l.Rows-l.NotCompared)
	}
	if l.Leaked == 0 {
		return fmt.Sprintf("eval_dataset: none of its %d rows%s is among the training rows", l.Rows, limit)
	}
	var pairs []string
	for _, pair := range l.Pairs[:min(len(l.Pairs), first)] {
		text := fmt.Sprintf("%d = %d", pair.Train, pair.Eval)
		if pair.File != "" {
			text = pair.File + " " + text
		}
		if !pair.Answer {
			text += " (another answer)"
		}
		pairs = append(pairs, text)
	}
	if more := l.SameRow + l.SameQuestion - len(pairs); more > 0 {
		pairs = append(pairs, fmt.Sprintf("and %d more", more))
	}
	return fmt.Sprintf("eval_dataset: %d of its %d rows%s are among the training rows, whose loss measures memory: %d training rows with the same answer, %d with the same question only; lines of training = evaluation: %s",
		l.Leaked, l.Rows, limit, l.SameRow, l.SameQuestion, strings.Join(pairs, ", "))
}
