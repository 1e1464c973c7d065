package inference

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"descant/pkg/chat"
	"descant/pkg/generate"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
	"descant/pkg/tokenizer"
)

// language is the text side of a base: its tokenizer, chat template and sampling defaults.
type language struct {
	tokenizer *tokenizer.Tokenizer
	template  *chat.Template
	defaults  generationConfig

	constraints constraints
}

// generationConfig is what is used here of generation_config.json. As in transformers, decoding is
// greedy unless do_sample is set.
type generationConfig struct {
	DoSample          bool     `json:"do_sample"`
	Temperature       *float64 `json:"temperature"`
	TopP              *float64 `json:"top_p"`
	TopK              *int     `json:"top_k"`
	MinP              *float64 `json:"min_p"`
	RepetitionPenalty *float64 `json:"repetition_penalty"`
}

func openLanguage(base registry.Base) (*language, error) {
	bad := func(err error) error {
		return job.UserError(job.CodeBadModel, "model "+base.Ref+" cannot answer: "+err.Error(), "use an instruction-tuned base with a tokenizer.json and a chat template")
	}
	t, err := tokenizer.Load(base.Dir)
	if err != nil {
		return nil, bad(err)
	}
	l := &language{tokenizer: t}
	if l.template, err = t.Template(); err == nil {
		l.defaults, err = readGenerationConfig(base.Dir)
	}
	if err != nil {
		t.Close()
		return nil, bad(err)
	}
	return l, nil
}

func readGenerationConfig(dir string) (generationConfig, error) {
	var c generationConfig
	data, err := os.ReadFile(filepath.Join(dir, "generation_config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return c, fmt.Errorf("generation_config.json: %w", err)
	}
	return c, nil
}

// digests are what an adapter's own must be.
func (l *language) digests() digests {
	return digests{tokenizer: l.tokenizer.Digest(), template: l.tokenizer.TemplateDigest()}
}

func (l *language) close() { l.tokenizer.Close() }

// prompt renders a conversation up to where the assistant speaks, and encodes it.
func (l *language) prompt(messages []chat.Message, tools []byte) ([]int32, error) {
	ids, _, err := l.tokenizer.EncodeChat(l.template, messages, tools, true)
	if err != nil {
		return nil, job.UserError(job.CodeBadRequest, err.Error(), "change the messages to what the model's chat template allows")
	}
	return ids, nil
}

// promptOf encodes what a request gives the model to go on from.
func (l *language) promptOf(req *pb.ChatRequest, messages []chat.Message, tools []byte) ([]int32, error) {
	if req.Text == nil {
		return l.prompt(messages, tools)
	}
	ids := l.tokenizer.EncodeText(req.GetText())
	if len(ids) == 0 {
		return nil, badRequest([]job.Problem{{Field: "text", Reason: "is empty, and this model needs something to go on from", Next: "give at least one character"}})
	}
	return ids, nil
}

// sampling is what a request asks for, with the model's own values where it says nothing.
func (l *language) sampling(req *pb.ChatRequest) generate.Sampling {
	d := l.defaults
	temperature := 0.0
	if d.DoSample {
		temperature = or(d.Temperature, 1)
	}
	s := generate.Sampling{
		Temperature:       or(req.Temperature, temperature),
		TopP:              or(req.TopP, or(d.TopP, 0)),
		TopK:              or(d.TopK, 0),
		MinP:              or(req.MinP, or(d.MinP, 0)),
		RepetitionPenalty: or(req.RepetitionPenalty, or(d.RepetitionPenalty, 0)),
	}
	s.PresencePenalty, s.FrequencyPenalty, s.LogitBias = req.GetPresencePenalty(), req.GetFrequencyPenalty(), req.GetLogitBias()
	if req.TopK != nil {
		s.TopK = int(req.GetTopK())
	}
	if req.Seed != nil {
		s.Seed = uint64(req.GetSeed())
	} else {
		s.Seed = rand.Uint64()
	}
	return s
}

func or[T any](value *T, otherwise T) T {
	if value == nil {
		return otherwise
	}
	return *value
}

// conversation returns the messages of a request, of which prompt is the short form.
func conversation(req *pb.ChatRequest) ([]chat.Message, error) {
	switch {
	case req.Text != nil && (req.GetPrompt() != "" || len(req.GetMessages()) > 0 || len(req.GetTools()) > 0):
		return nil, job.UserError(job.CodeBadRequest, "text stands beside prompt, messages or tools", "give text alone, or leave it out")
	case req.Text != nil:
		return nil, nil
	case req.GetPrompt() != "" && len(req.GetMessages()) > 0:
		return nil, job.UserError(job.CodeBadRequest, "prompt and messages are both given", "give one of the two")
	case req.GetPrompt() != "":
		return []chat.Message{chat.NewMessage("user", req.GetPrompt())}, nil
	case len(req.GetMessages()) == 0:
		return nil, job.UserError(job.CodeBadRequest, "there is nothing to answer", `give messages or a prompt: {"model":"my-adapter","prompt":"…"}`)
	}
	var messages []chat.Message
	for i, m := range req.GetMessages() {
		if m.GetRole() == "" {
			return nil, job.UserError(job.CodeBadRequest, "a message has no role", "", job.Problem{
				Field: fmt.Sprintf("messages[%d].role", i), Reason: "is missing", Next: "use system, user, assistant or tool",
			})
		}
		one := chat.NewMessage(m.GetRole(), m.GetContent())
		one.Name = m.GetName()
		var err error
		if one.ToolCalls, err = listJSON(m.GetToolCalls()); err != nil {
			return nil, err
		}
		messages = append(messages, one)
	}
	return messages, nil
}

// toolsJSON returns the tools of a request as a JSON list, or nil.
func toolsJSON(req *pb.ChatRequest) ([]byte, error) { return listJSON(req.GetTools()) }

func listJSON(objects []*structpb.Struct) ([]byte, error) {
	if len(objects) == 0 {
		return nil, nil
	}
	list := make([]json.RawMessage, len(objects))
	for i, object := range objects {
		data, err := protojson.Marshal(object)
		if err != nil {
			return nil, job.BugError("read tools", err)
		}
		list[i] = data
	}
	return json.Marshal(list)
}
