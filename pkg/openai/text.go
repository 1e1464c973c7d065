package openai

import (
	"encoding/json"
	"fmt"

	"descant/pkg/pb"
)

// usualText is how many tokens POST /v1/completions gives where the request says nothing.
const usualText = 16

// ReadText reads the body of POST /v1/completions: the model goes on from the prompt as it is, without a chat template.
func ReadText(data []byte) (*Completion, error) {
	o, err := ReadObject(data)
	if err != nil {
		return nil, err
	}
	c := &Completion{Request: &pb.ChatRequest{MaxTokens: usualText}}
	c.common(o)
	req := c.Request
	if o.Take("max_tokens", &req.MaxTokens, wantCount) && req.MaxTokens == 0 {
		o.Problem("max_tokens", CodeInvalidValue, "must be at least 1")
	}
	readPrompt(o, req)
	var top uint32
	if o.Take("logprobs", &top, "a whole number from 0 to 20") {
		yes := true
		req.Logprobs, req.TopLogprobs = &yes, &top
	}
	o.Only("best_of", "as many answers are made as n says", "1", fmt.Sprint(c.choices()))
	o.Only("echo", "the prompt is not repeated", "false")
	o.Only("suffix", "text is not filled in", `""`)
	o.Close()
	if err := o.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

// readPrompt reads one text, or a list of one.
func readPrompt(o *Object, req *pb.ChatRequest) {
	raw := o.Raw("prompt")
	if raw == nil {
		o.Problem("prompt", CodeMissingParameter, "is missing: give a text")
		return
	}
	var one string
	var several []string
	switch {
	case json.Unmarshal(raw, &one) == nil:
	case json.Unmarshal(raw, &several) == nil && len(several) == 1:
		one = several[0]
	default:
		o.Problem("prompt", CodeUnsupportedParameter, fmt.Sprintf("must be one text (found %s): send a request for each, and texts instead of token ids", shorten(raw)))
	}
	req.Text = &one
}
