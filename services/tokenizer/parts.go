package tokenizer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"descant/pkg/dataset"
	"descant/pkg/job"
)

// ReadOptions are the hyper-parameters that concern the reading of rows.
func ReadOptions(t job.Training) dataset.ReadOptions {
	return dataset.ReadOptions{Columns: t.Columns, System: t.DefaultSystem}
}

// TokeniseOptions are the hyper-parameters that concern tokens and labels.
func TokeniseOptions(t job.Training) dataset.TokeniseOptions {
	return dataset.TokeniseOptions{LossOn: t.LossOn, MaxLength: t.MaxLength, Truncation: t.TruncationMode, Seed: t.Seed}
}

// Part is one dataset of a training, on this machine.
type Part struct {
	Path   string
	Name   string // what messages call it
	Weight float64
	// Each hears of every row that is trained, in order; may be nil.
	Each func(dataset.Row)
}

// Tokenise turns the rows of all parts into shards in dir, whose names and rows count on from part to part. When rows are
// bad, the error is a RefusedError with all problems of all parts.
func (e *Encoder) Tokenise(ctx context.Context, parts []Part, t job.Training, dir string, opts dataset.TokeniseOptions) ([]*dataset.Result, error) {
	var results []*dataset.Result
	var refused RefusedError
	for i, part := range parts {
		opts.Weight, opts.Part, opts.Each = part.Weight, i, part.chosen(opts)
		made, err := e.part(ctx, part, ReadOptions(t), dir, opts)
		var bad *dataset.ValidationError
		if errors.As(err, &bad) {
			refused = append(refused, bad) // the other parts are read, too, so that all problems are told at once
			continue
		}
		if err != nil {
			return nil, err
		}
		results = append(results, made)
		opts.FirstRow += int64(made.Report.Rows)
		opts.FirstShard += len(made.Shards)
	}
	if refused != nil {
		return nil, refused
	}
	return results, nil
}

// chosen is Each for the rows that the weight of the part leaves in.
func (p Part) chosen(opts dataset.TokeniseOptions) func(dataset.Row) {
	if p.Each == nil {
		return nil
	}
	opts.Weight = p.Weight
	return func(row dataset.Row) {
		if opts.Chosen(row.Index) {
			p.Each(row)
		}
	}
}

func (e *Encoder) part(ctx context.Context, part Part, read dataset.ReadOptions, dir string, opts dataset.TokeniseOptions) (*dataset.Result, error) {
	in, err := os.Open(part.Path)
	if err != nil {
		return nil, fmt.Errorf("open dataset %s: %w", part.Name, err)
	}
	defer in.Close()
	return dataset.Tokenise(ctx, dataset.NewReader(in, part.Name, read), e.Encode, dir, opts)
}

// RefusedError holds the problems of one or several datasets.
type RefusedError []*dataset.ValidationError

func (r RefusedError) Error() string {
	texts := make([]string, len(r))
	for i, bad := range r {
		texts[i] = bad.Error()
	}
	return strings.Join(texts, "\n")
}

// Unwrap gives the errors of the datasets.
func (r RefusedError) Unwrap() []error {
	list := make([]error, len(r))
	for i, bad := range r {
		list[i] = bad
	}
	return list
}

// userError is the same as a user error, each problem with the name of its dataset where there are several.
func (r RefusedError) userError() error {
	var problems []job.Problem
	var names []string
	total, rows := 0, 0
	for _, bad := range r {
		total, rows, names = total+bad.Total, rows+bad.BadRows, append(names, bad.File)
		prefix := ""
		if len(r) > 1 {
			prefix = bad.File + ": "
		}
		for _, p := range bad.Problems {
			line := p.Line
			if line == 0 {
				line = p.Row // Parquet has rows in place of lines
			}
			problems = append(problems, job.Problem{Field: p.Field, Line: line, Reason: prefix + p.Found, Next: p.Hint})
		}
		if more := bad.Total - len(bad.Problems); more > 0 {
			problems = append(problems, job.Problem{Reason: fmt.Sprintf("%sand %d more; the bad rows are on lines %s", prefix, more, bad.Lines)})
		}
	}
	message := fmt.Sprintf("dataset %s cannot be used: %d problems in %d rows", strings.Join(names, " and "), total, rows)
	if total == 1 {
		message = fmt.Sprintf("dataset %s cannot be used", names[0])
	}
	return job.UserError(job.CodeBadDataset, message, "mend the rows and push the file again; `descant validate FILE` shows the same list", problems...)
}
