package tokenizer

import (
	"errors"
	"fmt"
	"strconv"

	"descant/pkg/chat"
	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/tokenizer"
)

// Encoder turns rows into ids with a base's own tokenizer and template.
type Encoder struct {
	*tokenizer.Tokenizer
	template *chat.Template
}

// OpenEncoder loads the tokenizer and template of a model folder; what is missing there is a user
// error, as another base would do.
func OpenEncoder(dir, ref string) (*Encoder, error) {
	t, err := tokenizer.Load(dir)
	if err != nil {
		return nil, job.UserError(job.CodeBadModel, "model "+ref+" cannot be used: "+err.Error(), "use a base with a tokenizer.json")
	}
	template, err := t.Template()
	if err != nil {
		t.Close()
		next := "the template needs something that is not supported: use another base"
		if errors.Is(err, tokenizer.ErrNoTemplate) {
			next = "use the instruction-tuned variant of the base, which has one"
		}
		return nil, job.UserError(job.CodeBadModel, "model "+ref+" cannot be used: "+err.Error(), next)
	}
	return &Encoder{Tokenizer: t, template: template}, nil
}

// Encode is a [dataset.Encode].
func (e *Encoder) Encode(row dataset.Row) (ids []int32, answers []int, err error) {
	out, err := e.Render(row)
	if err != nil {
		return nil, nil, err
	}
	return out.IDs, out.Answers, nil
}

// Prompt renders what comes before the last message of a row, up to where the answer begins.
func (e *Encoder) Prompt(row dataset.Row) ([]int32, error) {
	if row.Shape == dataset.ShapeText {
		return nil, errors.New("a plain text has no question: it can be trained, but not answered")
	}
	ids, _, err := e.EncodeChat(e.template, row.Messages[:len(row.Messages)-1], row.Tools, true)
	return ids, err
}

// Render renders a row by the template and encodes it. A plain text is one answer.
func (e *Encoder) Render(row dataset.Row) (*tokenizer.Encoded, error) {
	if row.Shape != dataset.ShapeText {
		return e.EncodeInput(e.template, chat.Input{Messages: row.Messages, Tools: row.Tools})
	}
	ids, err := e.EncodeDocument(row.Text)
	if err != nil {
		return nil, err
	}
	return &tokenizer.Encoded{IDs: ids, Answers: make([]int, len(ids)), Text: row.Text}, nil
}

// checkModel refuses a base that cannot be trained, rows longer than it can read and an adapter on modules that it does
// not have, before any work is spent on them.
func checkModel(dir string, spec job.Spec) error {
	config, err := model.ReadConfig(dir)
	if err != nil {
		return job.UserError(job.CodeBadModel, "model "+spec.Model+" cannot be trained: "+err.Error(), "`descant doctor` lists the supported families")
	}
	if spec.Training.MaxLength > config.MaxPositions {
		return job.UserError(job.CodeBadRequest, "the rows may be longer than the model can read", "", job.Problem{
			Field: "max_length", Found: strconv.Itoa(spec.Training.MaxLength),
			Reason: fmt.Sprintf("is more than the %d positions of %s", config.MaxPositions, spec.Model),
			Next:   fmt.Sprintf("use at most %d", config.MaxPositions),
		})
	}
	if spec.Training.Method == job.MethodLora {
		_, err = lora.PlanTraining(config, spec.Training, spec.Model)
	}
	return err
}
