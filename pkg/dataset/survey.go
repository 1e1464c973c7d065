package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Survey is what a dataset holds, for a person who is about to train on it.
type Survey struct {
	// Report is that of reading.
	Report *Report `json:"report"`
	// Characters are the lengths of the rows' texts in characters.
	Characters Lengths `json:"characters"`
	// Languages counts rows by the language that most of their text is in: see Language.
	Languages map[string]int `json:"languages"`
	// Tokens is what tokenising would make; nil without an encoder.
	Tokens *Result `json:"tokens,omitempty"`
	// Leak says which rows of an evaluation dataset are in this one; nil without one.
	Leak *Leak `json:"leak,omitempty"`
}

// SurveyOptions say what else is looked at.
type SurveyOptions struct {
	// Encode makes tokens of a row; without it there are no statistics of tokens. Tokenise says how rows are cut.
	Encode   Encode
	Tokenise TokeniseOptions
	// Leak compares with an evaluation dataset; may be nil.
	Leak *LeakCheck
}

// Inspect reads a dataset to its end and keeps no row. The error is a *ValidationError when rows are bad, also in the
// eyes of the encoder; the survey then holds what was seen.
func Inspect(ctx context.Context, rows *Reader, opts SurveyOptions) (*Survey, error) {
	s := &Survey{Report: rows.Report(), Languages: map[string]int{}}
	var characters histogram
	see := func(row Row) {
		n := utf8.RuneCountInString(row.Text)
		for _, m := range row.Messages {
			n += utf8.RuneCountInString(m.Content)
		}
		characters.add(n)
		s.Languages[Language(row)]++
		if opts.Leak != nil {
			opts.Leak.See(row)
		}
	}
	err := inspect(ctx, rows, see, s, opts)
	s.Characters = characters.summary()
	if opts.Leak != nil {
		s.Leak = opts.Leak.Result()
	}
	return s, err
}

func inspect(ctx context.Context, rows *Reader, see func(Row), s *Survey, opts SurveyOptions) error {
	if opts.Encode == nil {
		for ctx.Err() == nil {
			row, err := rows.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			see(row)
		}
		return fmt.Errorf("read dataset %s: %w", rows.report.File, context.Cause(ctx))
	}
	opts.Tokenise.Each = see
	var err error
	s.Tokens, err = Tokenise(ctx, rows, opts.Encode, "", opts.Tokenise)
	return err
}
