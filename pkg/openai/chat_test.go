package openai

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

func TestReadChat(t *testing.T) {
	t.Parallel()
	c, err := ReadChat([]byte(`{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":7,"temperature":0,"top_p":0.5,
		"top_k":-1,"min_p":0.1,"repetition_penalty":1.1,"seed":3,"stop":"END","n":2,"logprobs":true,"top_logprobs":3,"presence_penalty":-1,"frequency_penalty":0.5,"logit_bias":{"7":-100},"min_tokens":1,"ignore_eos":true,"stop_token_ids":[9],"user":"u","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"b":1,"a":2},"strict":true}},
		"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"auto",
		"messages":[{"role":"developer","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"user","content":"hi","name":"x"},
		{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"k\":1}"}}]},
		{"role":"tool","tool_call_id":"c1","content":"42"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r := c.Request
	if !c.Stream || !c.IncludeUsage || r.GetUser() != "u" || r.GetUser() != "u" || r.GetModel() != "m" || r.GetMaxTokens() != 7 || r.Temperature == nil || r.GetTopP() != 0.5 ||
		r.TopK == nil || r.GetTopK() != 0 || r.GetMinP() != 0.1 || r.GetRepetitionPenalty() != 1.1 || r.GetSeed() != 3 || len(r.GetStop()) != 1 || len(r.GetTools()) != 1 {
		t.Errorf("read %+v", c)
	}
	if r.GetN() != 2 || !r.GetLogprobs() || r.GetTopLogprobs() != 3 || r.GetPresencePenalty() != -1 || r.GetFrequencyPenalty() != 0.5 || r.GetLogitBias()[7] != -100 ||
		r.GetMinTokens() != 1 || !r.GetIgnoreEos() || len(r.GetStopTokenIds()) != 1 || r.GetResponseFormat().GetJsonSchema().GetSchema() != `{"b":1,"a":2}` {
		t.Errorf("read %+v", r)
	}
	m := r.GetMessages()
	if len(m) != 4 || m[0].GetRole() != "system" || m[0].GetContent() != "ab" || m[1].GetName() != "x" || m[3].GetContent() != "42" {
		t.Fatalf("messages %v", m)
	}
	arguments := m[2].GetToolCalls()[0].GetFields()["function"].GetStructValue().GetFields()["arguments"].GetStructValue()
	if arguments.GetFields()["k"].GetNumberValue() != 1 {
		t.Errorf("arguments %v", arguments)
	}
}

func TestReadChatRefusesByName(t *testing.T) {
	t.Parallel()
	const messages = `"model":"m","messages":[{"role":"user","content":"hi"}]`
	tests := map[string]struct{ body, param, code string }{
		"nothing":           {``, "", CodeInvalidJSON},
		"a list":            {`[]`, "", CodeInvalidJSON},
		"twice":             {`{"model":"m","model":"n"}`, "", CodeInvalidJSON},
		"no model":          {`{"messages":[{"role":"user","content":"hi"}]}`, "model", CodeMissingParameter},
		"no messages":       {`{"model":"m"}`, "messages", CodeMissingParameter},
		"empty messages":    {`{"model":"m","messages":[]}`, "messages", CodeMissingParameter},
		"unknown":           {`{` + messages + `,"temprature":1}`, "temprature", CodeUnknownParameter},
		"another case":      {`{` + messages + `,"Temperature":1}`, "Temperature", CodeUnknownParameter},
		"kind":              {`{` + messages + `,"temperature":"hot"}`, "temperature", CodeInvalidValue},
		"range":             {`{` + messages + `,"top_p":0}`, "top_p", CodeInvalidValue},
		"no answers":        {`{` + messages + `,"n":0}`, "n", CodeInvalidValue},
		"format":            {`{` + messages + `,"response_format":{"type":"text","x":1}}`, "response_format.x", CodeUnknownParameter},
		"penalty":           {`{` + messages + `,"presence_penalty":3}`, "presence_penalty", CodeInvalidValue},
		"bias":              {`{` + messages + `,"logit_bias":{"a":1}}`, "logit_bias", CodeInvalidValue},
		"both lengths":      {`{` + messages + `,"max_tokens":1,"max_completion_tokens":2}`, "max_completion_tokens", CodeInvalidValue},
		"options no stream": {`{` + messages + `,"stream_options":{"include_usage":true}}`, "stream_options", CodeInvalidValue},
		"inner":             {`{` + messages + `,"stream":true,"stream_options":{"x":1}}`, "stream_options.x", CodeUnknownParameter},
		"role":              {`{"model":"m","messages":[{"role":"boss","content":"hi"}]}`, "messages[0].role", CodeInvalidValue},
		"image":             {`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, "messages[0].content[0]", CodeUnsupportedParameter},
		"part's member":     {`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a","cache":1}]}]}`, "messages[0].content[0].cache", CodeUnknownParameter},
		"part's text":       {`{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}`, "messages[0].content[0].text", CodeMissingParameter},
		"null in a list":    {`{` + messages + `,"stop_token_ids":[null]}`, "stop_token_ids", CodeInvalidValue},
		"null in an object": {`{` + messages + `,"logit_bias":{"1":null}}`, "logit_bias", CodeInvalidValue},
		"no function":       {`{` + messages + `,"tools":[{"type":"function","function":[]}]}`, "tools[0]", CodeInvalidValue},
		"no such call":      {`{"model":"m","messages":[{"role":"tool","content":"1","tool_call_id":"x"}]}`, "messages[0].tool_call_id", CodeInvalidValue},
		"forced tool":       {`{` + messages + `,"tool_choice":"required"}`, "tool_choice", CodeUnsupportedParameter},
		"empty stop":        {`{` + messages + `,"stop":[""]}`, "stop", CodeInvalidValue},
		"kept":              {`{` + messages + `,"store":true}`, "store", CodeUnsupportedParameter},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ReadChat([]byte(tt.body))
			var e *Error
			if !errors.As(err, &e) || e.Status != http.StatusBadRequest {
				t.Fatalf("error %v", err)
			}
			if got := textOf(e.Param); got != tt.param {
				t.Errorf("param %q, want %q (%s)", got, tt.param, e.Message)
			}
			if got := textOf(e.Code); got != tt.code {
				t.Errorf("code %q, want %q (%s)", got, tt.code, e.Message)
			}
		})
	}
}

func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// answers says the texts and then ends with the error, if there is one.
func answers(err error, texts ...string) Ask {
	return func(context.Context, *pb.ChatRequest) iter.Seq2[*pb.ChatChunk, error] {
		return func(yield func(*pb.ChatChunk, error) bool) {
			for _, text := range texts {
				if !yield(&pb.ChatChunk{Delta: text, Model: "m@1"}, nil) {
					return
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
			yield(&pb.ChatChunk{FinishReason: "stop", Model: "m@1", Usage: &pb.Usage{PromptTokens: 3, CompletionTokens: 2, TotalTokens: 5}}, nil)
		}
	}
}

func post(t *testing.T, ask Ask, body string) *httptest.ResponseRecorder {
	t.Helper()
	return postTo(t, ask, "/v1/chat/completions", body)
}

func postTo(t *testing.T, ask Ask, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	w := httptest.NewRecorder()
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/chat/completions", ChatCompletions(ask, slog.New(slog.DiscardHandler)))
	mux.HandleFunc("/v1/completions", Completions(ask, slog.New(slog.DiscardHandler)))
	WithRequestID(mux).ServeHTTP(w, r)
	return w
}

// two gives two answers at once, with logprobs.
func two(context.Context, *pb.ChatRequest) iter.Seq2[*pb.ChatChunk, error] {
	return func(yield func(*pb.ChatChunk, error) bool) {
		piece := func(index uint32, text, finish string) bool {
			return yield(&pb.ChatChunk{Index: &index, Delta: text, FinishReason: finish, Usage: &pb.Usage{TotalTokens: 9},
				Logprobs: []*pb.TokenLogprob{{Token: text, Logprob: -1, Bytes: []uint32{1}, TopLogprobs: []*pb.TokenLogprob{{Token: "z", Logprob: -2}}}}}, nil)
		}
		_ = piece(0, "好", "") && piece(1, "b", "stop") && piece(0, "c", "length")
	}
}

func TestChoicesAndLogprobs(t *testing.T) {
	t.Parallel()
	const chat, text = "/v1/chat/completions", "/v1/completions"
	tests := map[string]struct{ path, body, want string }{
		"chat": {chat, `{"model":"m","messages":[{"role":"user","content":"hi"}],"n":2}`,
			`"choices":[{"index":0,"message":{"role":"assistant","content":"好c","refusal":null},"logprobs":{"content":[{"token":"好","logprob":-1,"bytes":[1],"top_logprobs":[{"token":"z","logprob":-2,"bytes":null}]},{"token":"c","logprob":-1,"bytes":[1],"top_logprobs":[{"token":"z","logprob":-2,"bytes":null}]}],"refusal":null},"finish_reason":"length"},{"index":1,`},
		"text": {text, `{"model":"m","prompt":"hi","n":2,"logprobs":1}`,
			`"choices":[{"index":0,"text":"好c","logprobs":{"tokens":["好","c"],"token_logprobs":[-1,-1],"top_logprobs":[{"z":-2},{"z":-2}],"text_offset":[0,1]},"finish_reason":"length"},{"index":1,"text":"b",`},
		"text in pieces": {text, `{"model":"m","prompt":["hi"],"n":2,"stream":true,"stream_options":{"include_usage":true}}`,
			`"choices":[{"index":0,"text":"c","logprobs":{"tokens":["c"],"token_logprobs":[-1],"top_logprobs":[{"z":-2}],"text_offset":[1]},"finish_reason":"length"}]}` + "\n\n" + `data: {`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			response := postTo(t, two, tt.path, tt.body)
			if body := response.Body.String(); response.Code != http.StatusOK || !strings.Contains(body, tt.want) || !strings.Contains(body, `"total_tokens":9`) {
				t.Errorf("status %d: %s\nwant %s", response.Code, body, tt.want)
			}
		})
	}
	for name, tt := range map[string]struct{ body, param string }{
		"several": {`{"model":"m","prompt":["a","b"]}`, "prompt"},
		"ids":     {`{"model":"m","prompt":[1,2]}`, "prompt"},
		"none":    {`{"model":"m"}`, "prompt"},
		"echo":    {`{"model":"m","prompt":"a","echo":true}`, "echo"},
		"fill in": {`{"model":"m","prompt":"a","suffix":"b"}`, "suffix"},
	} {
		if _, err := ReadText([]byte(tt.body)); err == nil || textOf(AsError(err).Param) != tt.param {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestChatCompletions(t *testing.T) {
	t.Parallel()
	const question = `{"model":"m","messages":[{"role":"user","content":"hi"}]`
	response := post(t, answers(nil, "你", "好"), question+`}`)
	var whole ChatCompletion
	if err := json.NewDecoder(response.Body).Decode(&whole); err != nil {
		t.Fatal(err)
	}
	if whole.Model != "m@1" || textOf(whole.Choices[0].Message.Content) != "你好" || whole.Choices[0].FinishReason != "stop" || whole.Usage.TotalTokens != 5 {
		t.Errorf("whole answer %+v", whole)
	}
	if id := response.Header().Get(RequestIDHeader); !strings.HasPrefix(id, "req_") {
		t.Errorf("request id %q", id)
	}

	response = post(t, answers(nil, "你", "好"), question+`,"stream":true,"stream_options":{"include_usage":true}}`)
	body := response.Body.String()
	events := strings.Split(strings.TrimSpace(body), "\n\n")
	if kind := response.Header().Get("Content-Type"); !strings.HasPrefix(kind, "text/event-stream") || len(events) != 6 || events[5] != "data: [DONE]" {
		t.Fatalf("%s with %q", kind, events)
	}
	for i, want := range []string{`"delta":{"role":"assistant","content":""}`, `"delta":{"content":"你"}`, `"delta":{"content":"好"}`, `"delta":{},"logprobs":null,"finish_reason":"stop"`, `"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,`} {
		if !strings.Contains(events[i], want) {
			t.Errorf("event %d is %s, want %s", i, events[i], want)
		}
	}
}

func TestErrorsOfAnswers(t *testing.T) {
	t.Parallel()
	const question = `{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}`
	unknown := bus.Fail(job.UserError(job.CodeNotFound, "there is no adapter", "look").Proto())
	tests := map[string]struct {
		err        error
		status     int
		code, wait string
	}{
		"unknown model": {unknown, http.StatusNotFound, CodeModelNotFound, ""},
		"too long":      {bus.Fail(job.UserError(job.CodeContextLength, "too long", "").Proto()), http.StatusBadRequest, "context_length_exceeded", ""},
		"no worker":     {bus.ErrNoResponders, http.StatusServiceUnavailable, "no_worker", "5"},
		"not ready":     {job.InfrastructureError(job.CodeNotReady, "load", errors.New("busy")), http.StatusServiceUnavailable, "not_ready", "1"},
		"full":          {job.RefusedError(job.CodeOverloaded, "full", "", 1500*time.Millisecond), http.StatusTooManyRequests, "overloaded", "2"},
		"silent":        {bus.ErrSilent, http.StatusGatewayTimeout, CodeTimeout, ""},
		"bug":           {errors.New("boom"), http.StatusInternalServerError, "internal", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			response := post(t, answers(tt.err), question)
			var body struct{ Error Error }
			if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
				t.Fatal(err)
			}
			if response.Code != tt.status || textOf(body.Error.Code) != tt.code || response.Header().Get("Retry-After") != tt.wait {
				t.Errorf("status %d, error %+v", response.Code, body.Error)
			}
		})
	}
	response := post(t, answers(unknown, "half an"), question)
	body := response.Body.String()
	if response.Code != http.StatusOK || !strings.Contains(body, "half an") || !strings.Contains(body, `data: {"error":{"message":"there is no adapter`) || strings.Contains(body, "[DONE]") {
		t.Errorf("an error after the first words: %s", body)
	}
}
