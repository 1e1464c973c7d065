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
		"top_k":-1,"min_p":0.1,"repetition_penalty":1.1,"seed":3,"stop":"END","n":1,"logprobs":null,"user":"u","response_format":{"type": "text"},
		"tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":"auto",
		"messages":[{"role":"developer","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},{"role":"user","content":"hi","name":"x"},
		{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"k\":1}"}}]},
		{"role":"tool","tool_call_id":"c1","content":"42"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r := c.Request
	if !c.Stream || !c.IncludeUsage || c.User != "u" || r.GetUser() != "u" || r.GetModel() != "m" || r.GetMaxTokens() != 7 || r.Temperature == nil || r.GetTopP() != 0.5 ||
		r.TopK == nil || r.GetTopK() != 0 || r.GetMinP() != 0.1 || r.GetRepetitionPenalty() != 1.1 || r.GetSeed() != 3 || len(r.GetStop()) != 1 || len(r.GetTools()) != 1 {
		t.Errorf("read %+v", c)
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
		"two answers":       {`{` + messages + `,"n":2}`, "n", CodeUnsupportedParameter},
		"json":              {`{` + messages + `,"response_format":{"type":"json_object"}}`, "response_format", CodeUnsupportedParameter},
		"both lengths":      {`{` + messages + `,"max_tokens":1,"max_completion_tokens":2}`, "max_completion_tokens", CodeInvalidValue},
		"options no stream": {`{` + messages + `,"stream_options":{"include_usage":true}}`, "stream_options", CodeInvalidValue},
		"inner":             {`{` + messages + `,"stream":true,"stream_options":{"x":1}}`, "stream_options.x", CodeUnknownParameter},
		"role":              {`{"model":"m","messages":[{"role":"boss","content":"hi"}]}`, "messages[0].role", CodeInvalidValue},
		"image":             {`{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, "messages[0].content[0]", CodeUnsupportedParameter},
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
			if got := text(e.Param); got != tt.param {
				t.Errorf("param %q, want %q (%s)", got, tt.param, e.Message)
			}
			if got := text(e.Code); got != tt.code {
				t.Errorf("code %q, want %q (%s)", got, tt.code, e.Message)
			}
		})
	}
}

func text(s *string) string {
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
	r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	w := httptest.NewRecorder()
	WithRequestID(ChatCompletions(ask, slog.New(slog.DiscardHandler))).ServeHTTP(w, r)
	return w
}

func TestChatCompletions(t *testing.T) {
	t.Parallel()
	const question = `{"model":"m","messages":[{"role":"user","content":"hi"}]`
	response := post(t, answers(nil, "你", "好"), question+`}`)
	var whole ChatCompletion
	if err := json.NewDecoder(response.Body).Decode(&whole); err != nil {
		t.Fatal(err)
	}
	if whole.Model != "m@1" || whole.Choices[0].Message.Content != "你好" || whole.Choices[0].FinishReason != "stop" || whole.Usage.TotalTokens != 5 {
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
	for i, want := range []string{`"delta":{"role":"assistant","content":""}`, `"delta":{"content":"你"}`, `"delta":{"content":"好"}`, `"delta":{},"logprobs":null,"finish_reason":"stop"`, `"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}`} {
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
			if response.Code != tt.status || text(body.Error.Code) != tt.code || response.Header().Get("Retry-After") != tt.wait {
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
