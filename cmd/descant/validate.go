package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"descant/pkg/dataset"
	"descant/pkg/job"
)

func (a *app) validateCommand() *cobra.Command {
	var flags *rowFlags
	var eval string
	var most int
	cmd := a.command(&cobra.Command{
		Use: "validate DATA", Short: "Check a file of rows and say what is in it", Args: exactArgs(1),
		Long: `Check a file of rows: every problem with its line and field, and what a training would make of the rows.
With --model the rows are turned into tokens as the training does it; with --eval rows of an evaluation file that
are also in DATA are found. DATA is a file or builtin:sample. Exits with 0 when all rows can be used, else with 1.`,
		Example: `  descant validate rows.jsonl
  descant validate rows.jsonl --model builtin:tiny --max-length 512 --json
  descant validate rows.jsonl --model Qwen/Qwen2.5-0.5B-Instruct --eval heldout.jsonl`,
	}, "hub", func(ctx context.Context, args []string) error {
		if err := flags.load(); err != nil {
			return err
		}
		survey, err := a.survey(ctx, args[0], eval, most, flags)
		if err != nil {
			return err
		}
		return a.print(survey, func() { a.printSurvey(args[0], survey, flags) })
	})
	flags = bindRows(cmd, "", job.DefaultTraining().LossOn)
	cmd.Flags().StringVar(&eval, "eval", "", "file of evaluation rows to look for in DATA")
	cmd.Flags().IntVar(&most, "max-problems", 20, "problems that are listed one by one; all are counted")
	return cmd
}

// survey reads the rows; bad rows of either file are an error with all problems.
func (a *app) survey(ctx context.Context, name, eval string, most int, flags *rowFlags) (*dataset.Survey, error) {
	opts := dataset.SurveyOptions{Tokenise: flags.tokenise()}
	read := flags.read(most)
	in, err := openRows(name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if eval != "" {
		rows, err := openRows(eval)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		if opts.Leak, err = dataset.NewLeakCheck(newReader(rows, eval, read)); err != nil {
			return nil, err
		}
	}
	if flags.Model != "" {
		encoder, err := a.openEncoder(ctx, flags.Model)
		if err != nil {
			return nil, err
		}
		defer encoder.Close()
		opts.Encode = encoder.Encode
	}
	return dataset.Inspect(ctx, newReader(in, name, read), opts)
}

func (a *app) printSurvey(name string, s *dataset.Survey, flags *rowFlags) {
	r := s.Report
	line := func(head, format string, args ...any) {
		fmt.Fprintf(a.out, "%-12s %s\n", head, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(a.out, "%s: %d rows can be trained\n", name, r.Rows)
	line("file", "%s, %s, %s", r.Format, bytesText(r.Bytes), r.Digest)
	line("shapes", "%s", counts(r.Shapes))
	line("languages", "%s", counts(s.Languages))
	line("characters", "%s", lengths(s.Characters))
	if t := s.Tokens; t != nil {
		line("tokens", "%s; %d in all, with the template of %s", lengths(t.WholeLengths), t.Tokens, flags.Model)
		line("trained", "%d of %d tokens (%s, loss_on %s); answers are %d (%s)", t.TrainedTokens, t.Tokens, share(t.TrainedTokens, t.Tokens), flags.LossOn, t.AnswerTokens, share(t.AnswerTokens, t.Tokens))
		a.printNotes(line, "cut", t.Truncated, fmt.Sprintf("longer than max_length %d", flags.MaxLength))
		a.printNotes(line, "left out", t.LeftOut, "without a trained token")
	}
	if l := s.Leak; l != nil {
		line("leak", "%d of the %d rows of %s are in these rows: %d rows with the same answer, %d with the same question only", l.Leaked, l.Rows, l.File, l.SameRow, l.SameQuestion)
		for _, pair := range l.Pairs[:min(len(l.Pairs), 10)] {
			line("", "%d = %s %d%s", pair.Train, l.File, pair.Eval, map[bool]string{true: "", false: " (another answer)"}[pair.Answer])
		}
	}
	for text := range strings.Lines(r.Text()) {
		line("note", "%s", strings.TrimSuffix(text, "\n"))
	}
}

func (a *app) printNotes(line func(head, format string, args ...any), head string, notes dataset.Notes, why string) {
	if notes.Count > 0 {
		line(head, "%d rows %s: lines %s", notes.Count, why, notes.Lines)
	}
}

func lengths(l dataset.Lengths) string {
	return fmt.Sprintf("p50 %d, p90 %d, p99 %d, max %d", l.P50, l.P90, l.P99, l.Max)
}

// counts lists names by how often they come.
func counts[K ~string](of map[K]int) string {
	names := slices.SortedFunc(maps.Keys(of), func(a, b K) int {
		if of[a] != of[b] {
			return of[b] - of[a]
		}
		return strings.Compare(string(a), string(b))
	})
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = fmt.Sprintf("%s %d", name, of[name])
	}
	return strings.Join(parts, ", ")
}

func share(part, whole int64) string {
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(max(whole, 1)))
}
