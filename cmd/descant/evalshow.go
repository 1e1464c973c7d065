package main

import (
	"fmt"
	"strings"
)

// Bounds of what is shown on a terminal; everything goes into --output and --json.
const (
	shownAnswers    = 5
	shownCharacters = 400
)

// show prints the comparison: a table, then a few rows with the answers below each other.
func (e *evaluation) show() {
	r, out := e.result, e.app.out
	fmt.Fprintf(out, "%s on %s: %d rows, %d tokens with a loss (loss_on %s)\n", r.Base, r.Dataset, r.Rows, r.Tokens, r.LossOn)
	for _, note := range []struct {
		n    int
		text string
	}{
		{r.LeftOut, "rows were left out: their question or answer is empty"},
		{r.Truncated, fmt.Sprintf("rows were longer than --max-length %d and were cut", e.o.rows.MaxLength)},
		{r.Dropped, fmt.Sprintf("rows were longer than --max-length %d and were left out", e.o.rows.MaxLength)},
		{r.NotLabeled, "rows count in no loss: nothing of their answer is left within --max-length"},
		{r.Texts, "rows are plain texts: they have a loss, and no question to answer"},
	} {
		if note.n > 0 {
			fmt.Fprintf(e.app.err, "warning: %d %s\n", note.n, note.text)
		}
	}
	var table [][]string
	for _, m := range e.models {
		row := []string{m.Name, fmt.Sprintf("%.4f", m.Loss), fmt.Sprintf("%.2f", m.Perplexity), "-", "-"}
		if m.Answered > 0 {
			row[3] = fmt.Sprintf("%d of %d", m.Exact, m.Answered)
			row[4] = fmt.Sprintf("%d of %d", m.Cut, m.Answered)
		}
		table = append(table, row)
	}
	e.app.table([]string{"MODEL", "LOSS", "PERPLEXITY", "EXACT MATCH", "CUT AT --MAX-TOKENS"}, table)
	shown, answered := 0, 0
	for _, answer := range r.Answers {
		if answer.Models[0].Finish == "" {
			continue
		}
		if answered++; shown < shownAnswers {
			shown++
			e.showAnswer(answer)
		}
	}
	if answered > shown {
		fmt.Fprintf(e.app.err, "%d more rows were answered; --output FILE writes all of them\n", answered-shown)
	}
}

func (e *evaluation) showAnswer(answer evalAnswer) {
	fmt.Fprintf(e.app.out, "\nrow %d, line %d\n", answer.Row+1, answer.Line)
	for _, m := range answer.Messages {
		e.showText(m.Role, m.Content)
	}
	e.showText("expected", answer.Reference)
	for _, said := range answer.Models {
		text := "(the prompt is longer than the model can read)"
		if said.Answer != nil {
			text = *said.Answer
		}
		e.showText(said.Name, text)
	}
}

// showText prints a name and a text beside it, shortened; control characters would move the cursor.
func (e *evaluation) showText(name, text string) {
	characters := []rune(strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f {
			return ' '
		}
		return r
	}, text))
	if len(characters) > shownCharacters {
		characters = append(characters[:shownCharacters:shownCharacters], '…')
	}
	lines := strings.ReplaceAll(strings.TrimSpace(string(characters)), "\n", "\n    ")
	fmt.Fprintf(e.app.out, "  [%s]\n    %s\n", name, lines)
}
