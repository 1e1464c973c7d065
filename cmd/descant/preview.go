package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"descant/pkg/chat"
	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/services/tokenizer"
)

// preview is one row as a training sees it.
type preview struct {
	Row      int            `json:"row"` // among the rows that can be trained, from 1
	Line     int            `json:"line"`
	Shape    dataset.Shape  `json:"shape"`
	Model    string         `json:"model"`
	Messages []chat.Message `json:"messages"`
	*tokenizer.Preview
}

func (a *app) previewCommand() *cobra.Command {
	var flags *rowFlags
	var row int
	cmd := a.command(&cobra.Command{
		Use: "preview DATA", Short: "Show a row as a training sees it, token by token", Args: exactArgs(1),
		Long: `Show a row of a file as a training sees it: rendered with the chat template of the base and cut into tokens.
On a terminal trained tokens are green, others grey and tokens beyond max_length red; elsewhere, and with NO_COLOR,
a table has one
token a line, with * for a trained and x for a cut one. DATA is a file or builtin:sample.`,
		Example: `  descant preview rows.jsonl --model builtin:tiny
  descant preview rows.jsonl --row 17 --loss-on completion
  descant preview builtin:sample --model builtin:tiny --json`,
	}, "hub", func(ctx context.Context, args []string) error {
		if err := flags.load(); err != nil {
			return err
		}
		if row < 1 {
			return &exitError{code: exitUsage, err: fmt.Errorf("--row is %d: rows count from 1", row)}
		}
		p, err := a.preview(ctx, args[0], row, flags)
		if err != nil {
			return err
		}
		return a.print(p, func() { a.printPreview(p, flags) })
	})
	flags = bindRows(cmd, defaultModel, job.DefaultTraining().LossOn)
	cmd.Flags().IntVar(&row, "row", 1, "which of the rows that can be trained, from 1")
	return cmd
}

func (a *app) preview(ctx context.Context, name string, number int, flags *rowFlags) (*preview, error) {
	in, err := openRows(name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	row, err := nthRow(newReader(in, name, flags.read(0)), name, number)
	if err != nil {
		return nil, err
	}
	encoder, err := a.openEncoder(ctx, flags.Model)
	if err != nil {
		return nil, err
	}
	defer encoder.Close()
	seen, err := encoder.Preview(row, name, flags.tokenise())
	if err != nil {
		return nil, err
	}
	return &preview{Row: number, Line: row.Line, Shape: row.Shape, Model: flags.Model, Messages: row.Messages, Preview: seen}, nil
}

// nthRow reads up to a row. Problems of rows before it are no obstacle: what is wrong is for `validate` to say.
func nthRow(rows *dataset.Reader, name string, number int) (dataset.Row, error) {
	for n := 1; ; n++ {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return row, job.UserError(job.CodeBadDataset, fmt.Sprintf("%s has no row %d: %d rows can be trained", name, number, n-1), fmt.Sprintf("use --row 1 to %d", n-1))
		}
		if err != nil {
			return row, err
		}
		if n == number {
			return row, nil
		}
	}
}

func (a *app) printPreview(p *preview, flags *rowFlags) {
	fmt.Fprintf(a.out, "row %d (line %d, %s): %d tokens, %d trained (loss_on %s)", p.Row, p.Line, p.Shape, len(p.Tokens), p.Trained, flags.LossOn)
	if p.Cut > 0 {
		fmt.Fprintf(a.out, ", %d cut (max_length %d)", p.Cut, flags.MaxLength)
	}
	fmt.Fprintln(a.out)
	if a.colourful(a.out) {
		fmt.Fprintln(a.out, colours(p.Tokens))
		return
	}
	marks := map[dataset.Use]string{dataset.UseTrained: "*", dataset.UseCut: "x"}
	for _, t := range p.Tokens {
		fmt.Fprintf(a.out, "%8d %1s %s\n", t.ID, marks[t.Use], strconv.Quote(t.Text))
	}
}

// colours writes tokens as running text; two shades of a colour tell neighbours apart. Control characters are shown by
// their names, so that no row can change the terminal.
func colours(tokens []tokenizer.PreviewToken) string {
	shades := map[dataset.Use][2]string{
		dataset.UseTrained: {"\x1b[30;42m", "\x1b[30;102m"},
		dataset.UseContext: {"\x1b[30;47m", "\x1b[30;107m"},
		dataset.UseCut:     {"\x1b[30;41m", "\x1b[30;101m"},
	}
	var b strings.Builder
	for i, t := range tokens {
		text := strings.Map(func(r rune) rune {
			switch {
			case r == '\n':
				return '↵'
			case r == '\t':
				return '→'
			case r < ' ' || r >= 0x7f && r < 0xa0:
				return '\uFFFD'
			}
			return r
		}, t.Text)
		b.WriteString(shades[t.Use][i%2] + text + "\x1b[0m")
		if strings.HasSuffix(t.Text, "\n") {
			b.WriteByte('\n')
		}
	}
	return b.String()
}
