package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"descant/pkg/chat"
	"descant/pkg/job"
	"descant/pkg/model"
	"descant/pkg/tokenizer"
)

// encoder turns conversations into ids with a base's own tokenizer and template.
type encoder struct {
	tokenizer       *tokenizer.Tokenizer
	template        *chat.Template
	tokenizerDigest string
	templateDigest  string
}

// openEncoder loads the tokenizer and template of a model folder; what is missing there is a user
// error, as another base would do.
func openEncoder(dir, ref string) (*encoder, error) {
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
	return &encoder{tokenizer: t, template: template, tokenizerDigest: t.Digest(), templateDigest: t.TemplateDigest()}, nil
}

func (e *encoder) close() { e.tokenizer.Close() }

// encode renders and encodes a row; the mask is true for the tokens of answers.
func (e *encoder) encode(messages []chat.Message, tools json.RawMessage) ([]int32, []bool, error) {
	return e.tokenizer.EncodeChat(e.template, messages, tools, false)
}

// checkModel refuses a base that cannot be trained, and rows longer than it can read, before any work
// is spent on them.
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
	return nil
}
