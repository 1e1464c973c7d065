package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"descant/pkg/dataset"
	"descant/pkg/job"
)

// evalRow is a row with its tokens.
type evalRow struct {
	dataset.Row
	// ids and labels are those of the whole conversation, labels of its answers alone.
	ids, labels []int32
	// prompt are the ids up to the last answer, reference is that answer.
	prompt    []int32
	reference string
}

// evalRows are rows of a dataset, as package train reads them.
type evalRows struct {
	list      []evalRow
	report    *dataset.Report
	truncated int
}

func (r *evalRows) Len() int                        { return len(r.list) }
func (r *evalRows) Row(i int) (ids, labels []int32) { return r.list[i].ids, r.list[i].labels }
func (r *evalRows) Order(int64, int) []int          { return nil } // an evaluation has an order of its own

// readRows reads and encodes the first rows of the dataset.
func (e *evaluation) readRows(ctx context.Context, work string) (*evalRows, error) {
	path, err := e.app.datasetFile(ctx, e.o.dataset, work)
	if err != nil {
		return nil, err
	}
	in, err := openRows(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	reader := newReader(in, e.o.dataset, dataset.ReadOptions{})
	rows := &evalRows{report: reader.Report()}
	for e.o.maxRows == 0 || len(rows.list) < e.o.maxRows {
		row, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if reader.Failed() {
			continue // read on only to find the other problems
		}
		if err := e.encode(rows, row); err != nil {
			return nil, fmt.Errorf("%s: %w", row.Where(), err)
		}
	}
	return rows, nil
}

// datasetFile is the path of the rows that a command line names, or builtin:sample; a pushed dataset is fetched into work.
func (a *app) datasetFile(ctx context.Context, name, work string) (string, error) {
	if _, err := os.Stat(name); err == nil || name == dataset.SampleName || !job.ValidName(name) {
		return name, nil
	}
	path := filepath.Join(work, "rows")
	err := a.withSystem(ctx, func(ctx context.Context, s *system) error {
		set, err := s.registry.Dataset(ctx, name)
		if err != nil {
			return err
		}
		return s.objects.GetContentFile(ctx, set.Digest, path)
	})
	if err != nil {
		return "", fmt.Errorf("there is no file %s here; as a pushed dataset: %w", name, err)
	}
	return path, nil
}

// encode adds a row.
func (e *evaluation) encode(rows *evalRows, row dataset.Row) error {
	ids, answers, err := e.text.Encode(row)
	if err != nil {
		return err
	}
	if len(ids) > e.o.maxLength {
		ids, answers = ids[:e.o.maxLength], answers[:e.o.maxLength]
		rows.truncated++
	}
	labels := make([]int32, len(ids))
	for i, id := range ids {
		labels[i] = dataset.IgnoreLabel
		if answers[i] != dataset.NoAnswer {
			labels[i] = id
		}
	}
	prompt, err := e.text.Prompt(row)
	if err != nil {
		return err
	}
	rows.list = append(rows.list, evalRow{Row: row, ids: ids, labels: labels, prompt: prompt, reference: row.Messages[len(row.Messages)-1].Content})
	return nil
}
