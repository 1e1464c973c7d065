package openai

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"descant/pkg/pb"
)

// Completion is a request for a completion as it was read: what goes to the worker, and what concerns the answer's form.
type Completion struct {
	Request *pb.ChatRequest
	// Stream asks for server-sent events, IncludeUsage for the counts at their end.
	Stream, IncludeUsage bool
}

// choices is how many answers are wanted.
func (c *Completion) choices() int { return max(int(c.Request.GetN()), 1) }

const (
	maxStops   = 16
	maxChoices = 128
)

// ReadChat reads the body of POST /v1/chat/completions. Every member is honoured or refused by name.
func ReadChat(data []byte) (*Completion, error) {
	o, err := ReadObject(data)
	if err != nil {
		return nil, err
	}
	c := &Completion{Request: &pb.ChatRequest{}}
	c.common(o)
	req := c.Request
	var longest, completion uint32
	if o.Take("max_tokens", &longest, wantCount) && longest == 0 {
		o.Problem("max_tokens", CodeInvalidValue, "must be at least 1")
	}
	if o.Take("max_completion_tokens", &completion, wantCount) && completion == 0 {
		o.Problem("max_completion_tokens", CodeInvalidValue, "must be at least 1")
	}
	if longest > 0 && completion > 0 && longest != completion {
		o.Problem("max_completion_tokens", CodeInvalidValue, "differs from max_tokens, which is an older name for it: give one of the two")
	}
	req.MaxTokens = max(longest, completion)
	messages := o.Objects("messages")
	if len(messages) == 0 && o.Raw("messages") == nil && *o.code == "" {
		o.Problem("messages", CodeMissingParameter, `is missing: give a list such as [{"role":"user","content":"Hello"}]`)
	}
	called := map[string]bool{}
	for _, m := range messages {
		req.Messages = append(req.Messages, readMessage(m, called))
	}
	readTools(o, req)
	readFormat(o, req)
	var logprobs bool
	if o.Take("logprobs", &logprobs, "true or false") {
		req.Logprobs = &logprobs
	}
	var top uint32
	if o.Take("top_logprobs", &top, "a whole number from 0 to 20") {
		req.TopLogprobs = &top
	}
	o.Only("modalities", "only text is generated", `["text"]`)
	for _, field := range []struct{ name, reason string }{
		{"audio", "only text is generated"}, {"prediction", "predicted outputs are not used"}, {"web_search_options", "there is no web search"},
		{"functions", "use tools"}, {"function_call", "use tool_choice"}, {"reasoning_effort", "the model decides by itself"}, {"verbosity", "say it in the messages"},
	} {
		o.Only(field.name, field.reason)
	}
	o.Close()
	if err := o.Err(); err != nil {
		return nil, err
	}
	return c, nil
}

const wantCount = "a whole number above 0"

// common reads what chat completions and completions have in common.
func (c *Completion) common(o *Object) {
	req := c.Request
	if o.Take("model", &req.Model, "a string"); req.Model == "" && *o.code == "" {
		o.Problem("model", CodeMissingParameter, "is missing: name an adapter or a base; GET /v1/models lists them")
	}
	o.Take("stream", &c.Stream, "true or false")
	if options := o.Object("stream_options"); options != nil {
		options.Take("include_usage", &c.IncludeUsage, "true or false")
		options.Only("include_obfuscation", "streams are not padded", "false")
		options.Close()
		if !c.Stream {
			o.Problem("stream_options", CodeInvalidValue, "is for streams: set stream to true")
		}
	}
	c.sampling(o)
	readStop(o, req)
	var n uint32
	if o.Take("n", &n, wantCount) {
		if n < 1 || n > maxChoices {
			o.Problem("n", CodeInvalidValue, fmt.Sprintf("is %d: use a whole number from 1 to %d", n, maxChoices))
		}
		req.N = &n
	}
	o.Only("store", "answers are not kept", "false")
	o.Only("metadata", "answers are not kept, and nothing with them", "{}")
	o.Only("service_tier", "there is one tier", `"auto"`, `"default"`)
	o.Take("user", &req.User, "a string")
	var identifier string
	if o.Take("safety_identifier", &identifier, "a string") && req.User == "" {
		req.User = identifier
	}
	o.Only("prompt_cache_key", "the cache needs no key")
	o.Only("prompt_cache_retention", "the cache has no such setting")
}

// sampling reads the numbers of the sampling. OpenAI's API does not have top_k, min_p, repetition_penalty, min_tokens,
// ignore_eos, stop_token_ids and regex; the first six have the names of vLLM.
func (c *Completion) sampling(o *Object) {
	req := c.Request
	upTo := func(name string, high float64, above bool) *float64 {
		var x float64
		if !o.Take(name, &x, "a number") {
			return nil
		}
		if x < 0 || x > high || above && x == 0 {
			from := map[bool]string{true: "above", false: "from"}[above]
			o.Problem(name, CodeInvalidValue, fmt.Sprintf("is %v: use a number %s 0 to %v", x, from, high))
		}
		return &x
	}
	req.Temperature = upTo("temperature", 2, false)
	req.TopP = upTo("top_p", 1, true)
	req.MinP = upTo("min_p", 1, false)
	req.RepetitionPenalty = upTo("repetition_penalty", 100, true)
	penalty := func(name string) *float64 {
		var x float64
		if !o.Take(name, &x, "a number from -2 to 2") {
			return nil
		}
		if x < -2 || x > 2 {
			o.Problem(name, CodeInvalidValue, fmt.Sprintf("is %v: use a number from -2 to 2", x))
		}
		return &x
	}
	req.PresencePenalty, req.FrequencyPenalty = penalty("presence_penalty"), penalty("frequency_penalty")
	o.Take("logit_bias", &req.LogitBias, "an object of token ids and numbers")
	o.Take("stop_token_ids", &req.StopTokenIds, "a list of token ids")
	o.Take("regex", &req.Regex, "a regular expression")
	var fewest uint32
	if o.Take("min_tokens", &fewest, "a whole number from 0") {
		req.MinTokens = &fewest
	}
	var ignore bool
	if o.Take("ignore_eos", &ignore, "true or false") {
		req.IgnoreEos = &ignore
	}
	var topK int64
	if o.Take("top_k", &topK, "a whole number, 0 or -1 for all tokens") {
		if topK < -1 || topK > 1<<31 {
			o.Problem("top_k", CodeInvalidValue, "must be a whole number from 1, or 0 or -1 for all tokens")
		}
		k := uint32(max(topK, 0))
		req.TopK = &k
	}
	var seed int64
	if o.Take("seed", &seed, "a whole number") {
		req.Seed = &seed
	}
}

// readFormat reads what the answer must look like. The schema goes on as the text that it is, since the order of its
// properties is that of the answer.
func readFormat(o *Object, req *pb.ChatRequest) {
	format := o.Object("response_format")
	if format == nil {
		return
	}
	req.ResponseFormat = &pb.ResponseFormat{}
	if !format.Take("type", &req.ResponseFormat.Type, "text, json_object or json_schema") {
		format.Problem("type", CodeMissingParameter, "is missing: use text, json_object or json_schema")
	}
	if schema := format.Object("json_schema"); schema != nil {
		s := &pb.JsonSchema{Schema: string(schema.Raw("schema"))}
		schema.Take("name", &s.Name, "a string")
		schema.Take("description", &s.Description, "a string")
		var strict bool
		if schema.Take("strict", &strict, "true or false") {
			s.Strict = &strict
		}
		schema.Close()
		req.ResponseFormat.JsonSchema = s
	}
	format.Close()
}

// readStop reads one text or a list of texts.
func readStop(o *Object, req *pb.ChatRequest) {
	raw := o.Raw("stop")
	if raw == nil {
		return
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		req.Stop = []string{one}
	} else if json.Unmarshal(raw, &req.Stop) != nil {
		o.Problem("stop", CodeInvalidValue, "must be a text or a list of texts")
	}
	if slices.Contains(req.Stop, "") {
		o.Problem("stop", CodeInvalidValue, "has an empty text, at which every answer would stop")
	}
	if len(req.Stop) > maxStops {
		o.Problem("stop", CodeInvalidValue, fmt.Sprintf("has %d texts, at most %d are allowed", len(req.Stop), maxStops))
	}
}

// readMessage reads one message of a conversation; called holds the ids of the tool calls before it.
func readMessage(o *Object, called map[string]bool) *pb.ChatMessage {
	m := &pb.ChatMessage{}
	o.Take("role", &m.Role, "a string")
	switch m.Role {
	case "developer": // the newer word for system
		m.Role = "system"
	case "system", "user", "assistant", "tool":
	case "":
		o.Problem("role", CodeMissingParameter, "is missing: use system, user, assistant or tool")
	default:
		o.Problem("role", CodeInvalidValue, fmt.Sprintf("is %q: use system, user, assistant or tool", m.Role))
	}
	if raw := o.Raw("content"); raw != nil {
		m.Content = readContent(o, raw)
	} else if m.Role != "assistant" {
		o.Problem("content", CodeMissingParameter, "is missing")
	}
	o.Take("name", &m.Name, "a string")
	if m.Role == "assistant" {
		for _, call := range o.Objects("tool_calls") {
			m.ToolCalls = append(m.ToolCalls, readToolCall(call, called))
		}
	}
	if m.Role == "tool" {
		var id string
		if o.Take("tool_call_id", &id, "a string") && !called[id] {
			o.Problem("tool_call_id", CodeInvalidValue, fmt.Sprintf("is %q, which no tool call before it has", id))
		}
	}
	o.Only("refusal", "models here do not mark refusals", `""`)
	o.Only("annotations", "there is no web search whose results they could name", "[]")
	o.Only("audio", "only text is read")
	o.Only("function_call", "use tool_calls")
	o.Close()
	return m
}

// readContent reads a text, or a list of parts that are texts.
func readContent(o *Object, raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) != nil {
		o.Problem("content", CodeInvalidValue, "must be a text or a list of parts")
		return ""
	}
	var all strings.Builder
	for i, raw := range parts {
		name := fmt.Sprintf("content[%d]", i)
		part := o.inner(o.path+name, raw)
		if part == nil {
			continue
		}
		var kind string
		part.Take("type", &kind, "a string")
		if kind != "text" {
			o.Problem(name, CodeUnsupportedParameter, fmt.Sprintf("is of type %q: models here read text only", kind))
			continue
		}
		if !part.Take("text", &text, "a string") {
			part.Problem("text", CodeMissingParameter, "is missing")
		}
		all.WriteString(text)
		part.Close()
	}
	return all.String()
}

// readToolCall reads a tool call of an assistant. Chat templates want the arguments as an object, where the API has them
// as a text of JSON.
func readToolCall(o *Object, called map[string]bool) *structpb.Struct {
	var id, kind string
	o.Take("id", &id, "a string")
	called[id] = true
	if o.Take("type", &kind, "a string") && kind != "function" {
		o.Problem("type", CodeUnsupportedParameter, fmt.Sprintf("is %q: only function is known", kind))
	}
	function := o.Object("function")
	if function == nil {
		o.Problem("function", CodeMissingParameter, "is missing")
		o.Close()
		return nil
	}
	var name, arguments string
	function.Take("name", &name, "a string")
	function.Take("arguments", &arguments, "a text of JSON")
	function.Close()
	o.Close()
	value := structpb.NewStringValue(arguments)
	if parsed := new(structpb.Struct); protojson.Unmarshal([]byte(arguments), parsed) == nil {
		value = structpb.NewStructValue(parsed)
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"id": structpb.NewStringValue(id), "type": structpb.NewStringValue("function"),
		"function": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"name": structpb.NewStringValue(name), "arguments": value}}),
	}}
}

// readTools reads the tools for the chat template. The model may call them or not; it cannot be made to.
func readTools(o *Object, req *pb.ChatRequest) {
	var tools []json.RawMessage
	o.Take("tools", &tools, "a list of objects")
	for i, raw := range tools {
		tool := new(structpb.Struct)
		if err := protojson.Unmarshal(raw, tool); err != nil || tool.GetFields()["type"].GetStringValue() != "function" || tool.GetFields()["function"].GetStructValue() == nil {
			o.Problem(fmt.Sprintf("tools[%d]", i), CodeInvalidValue, `must be an object of type "function" with a function`)
			continue
		}
		req.Tools = append(req.Tools, tool)
	}
	o.Only("parallel_tool_calls", "the model decides by itself", "true")
	choice := o.Raw("tool_choice")
	switch {
	case choice == nil, bytes.Equal(choice, []byte(`"auto"`)):
	case bytes.Equal(choice, []byte(`"none"`)):
		req.Tools = nil
	default:
		o.Problem("tool_choice", CodeUnsupportedParameter, shorten(choice)+" is not supported: the model cannot be made to call a tool; use auto or none")
	}
}
