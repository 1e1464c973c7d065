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
	// ids and labels are those of a training with the same options.
	ids, labels []int32
	// prompt are the ids up to the last answer, reference is that answer; a plain text has neither.
	prompt    []int32
	reference string
}

// evalRows are rows of a dataset, as package train reads them.
type evalRows struct {
	list   []evalRow
	report *dataset.Report
}

func (r *evalRows) Len() int                        { return len(r.list) }
func (r *evalRows) Row(i int) (ids, labels []int32) { return r.list[i].ids, r.list[i].labels }
func (r *evalRows) Order(int64, int) []int          { return nil } // an evaluation has an order of its own

// readRows reads and encodes the first rows of the dataset.
func (e *evaluation) readRows(ctx context.Context, work string) (*evalRows, error) {
	path, name, err := e.app.datasetFile(ctx, e.o.dataset, work)
	if err != nil {
		return nil, err
	}
	in, err := openRows(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	reader := newReader(in, name, e.o.rows.read(0))
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
			reader.Refuse(row, err)
		}
	}
	return rows, nil
}

// datasetFile is the path of the rows that a command line names, or builtin:sample, and what messages call them; a pushed
// dataset is fetched into work.
func (a *app) datasetFile(ctx context.Context, name, work string) (path, file string, err error) {
	if _, err := os.Stat(name); err == nil || name == dataset.SampleName || !job.ValidName(name) {
		return name, name, nil
	}
	path, file = filepath.Join(work, "rows"), name
	err = a.withSystem(ctx, func(ctx context.Context, s *system) error {
		set, err := s.registry.Dataset(ctx, name)
		if err != nil {
			return err
		}
		if dataset.IsText(set.File) {
			file = set.File
		}
		return s.objects.GetContentFile(ctx, set.Digest, path)
	})
	if err != nil {
		return "", "", fmt.Errorf("there is no file %s here; as a pushed dataset: %w", name, err)
	}
	return path, file, nil
}

// encode adds a row, cut and labelled as a training would do it. A row without a label has no loss, but may be answered.
func (e *evaluation) encode(rows *evalRows, row dataset.Row) error {
	ids, answers, err := e.text.Encode(row)
	if err != nil {
		return err
	}
	l, err := dataset.Label(row, ids, answers, e.o.rows.tokenise())
	if err != nil {
		return err
	}
	if l.LeftOut == dataset.ReasonTooLong {
		e.result.Dropped++
		return nil
	}
	if l.Cut {
		e.result.Truncated++
	}
	add := evalRow{Row: row, ids: l.IDs, labels: l.Labels}
	if row.Shape == dataset.ShapeText {
		e.result.Texts++
	} else {
		if add.prompt, err = e.text.Prompt(row); err != nil {
			return err
		}
		add.reference = row.Messages[len(row.Messages)-1].Content
	}
	rows.list = append(rows.list, add)
	return nil
}

// asked are the first rows that have a question, at most limit of them; -1 means all.
func (r *evalRows) asked(limit int) (rows []int) {
	for i, row := range r.list {
		if len(rows) != limit && row.prompt != nil {
			rows = append(rows, i)
		}
	}
	return rows
}
