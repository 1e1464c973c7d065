package tokenizer

import (
	"fmt"

	"descant/pkg/dataset"
	"descant/pkg/job"
)

// Preview is how a training sees one row.
type Preview struct {
	Text    string         `json:"text"`
	Tokens  []PreviewToken `json:"tokens"`
	Trained int            `json:"trained"`
	Cut     int            `json:"cut"`
}

// PreviewToken is one token of a row.
type PreviewToken struct {
	ID   int32       `json:"id"`
	Text string      `json:"text"`
	Use  dataset.Use `json:"use"`
}

// Preview renders a row of a file and says what training does with each token.
func (e *Encoder) Preview(row dataset.Row, file string, opts dataset.TokeniseOptions) (*Preview, error) {
	out, err := e.Render(row)
	if err != nil {
		return nil, job.UserError(job.CodeBadDataset, fmt.Sprintf("%s of %s cannot be rendered: %v", row.Where(), file, err), "change the turns to what the chat template of the base allows")
	}
	uses, err := dataset.Uses(row, out.IDs, out.Answers, opts)
	if err != nil {
		return nil, err
	}
	p := &Preview{Text: out.Text}
	for i, id := range out.IDs {
		p.Tokens = append(p.Tokens, PreviewToken{ID: id, Text: e.TokenText(id), Use: uses[i]})
		switch uses[i] {
		case dataset.UseTrained:
			p.Trained++
		case dataset.UseCut:
			p.Cut++
		}
	}
	return p, nil
}
