package openai

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	openaisdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

const paris = `<tool_call>
{"name": "weather", "arguments": {"city": "Paris", "days": 2}}
</tool_call>`

func TestToolCalls(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ said, text, calls string }{
		"none":               {"1 < 2 <tool> ", "1 < 2 <tool> ", ""},
		"one":                {paris, "", `weather({"city":"Paris","days":2})`},
		"words before":       {"Let me look.\n" + paris + "\n", "Let me look.", `weather({"city":"Paris","days":2})`},
		"words behind":       {paris + "\n\nso.\n", "so.\n", `weather({"city":"Paris","days":2})`},
		"several":            {paris + "\n<tool_call>{\"name\":\"now\"}</tool_call>", "", `weather({"city":"Paris","days":2}) now({})`},
		"arguments as text":  {`<tool_call>{"name":"f","arguments":"{\"a\":1}"}</tool_call>`, "", `f({"a":1})`},
		"no JSON":            {"see <tool_call>weather</tool_call> there", "see <tool_call>weather</tool_call> there", ""},
		"bad, then good":     {"<tool_call>{}</tool_call> " + paris, "<tool_call>{}</tool_call>", `weather({"city":"Paris","days":2})`},
		"not closed":         {strings.TrimSuffix(paris, "</tool_call>"), "", `weather({"city":"Paris","days":2})`},
		"cut in the middle":  {`so <tool_call>{"name": "wea`, `so <tool_call>{"name": "wea`, ""},
		"beginning of marks": {"a <tool_c", "a <tool_c", ""},
	}
	for name, tt := range tests {
		for size := 1; size <= len(tt.said); size++ { // of the pieces in which it comes
			var parser toolCalls
			var text strings.Builder
			var calls []string
			take := func(piece string, end bool) {
				said, found := parser.take(piece, end)
				text.WriteString(said)
				for _, call := range found {
					if *call.Index != len(calls) || call.Type != "function" || !strings.HasPrefix(call.ID, "call_") {
						t.Errorf("%s: call %+v", name, call)
					}
					calls = append(calls, fmt.Sprintf("%s(%s)", call.Function.Name, call.Function.Arguments))
				}
			}
			for rest := tt.said; rest != ""; {
				n := min(size, len(rest))
				take(rest[:n], false)
				rest = rest[n:]
			}
			take("", true)
			if text.String() != tt.text || strings.Join(calls, " ") != tt.calls {
				t.Errorf("%s, in pieces of %d bytes: %q and %q, want %q and %q", name, size, text.String(), calls, tt.text, tt.calls)
			}
		}
	}
}

func TestAnswersThatCallTools(t *testing.T) {
	t.Parallel()
	const question = `{"model":"m","messages":[{"role":"user","content":"hi"}]`
	const tools = question + `,"tools":[{"type":"function","function":{"name":"weather"}}]`
	ask := answers(nil, "<tool_", "call>"+strings.TrimPrefix(paris, "<tool_call>")[:20], strings.TrimPrefix(paris, "<tool_call>")[20:])
	for body, want := range map[string]struct {
		content any
		finish  string
		calls   int
	}{
		tools + `}`:                      {nil, "tool_calls", 1},
		tools + `,"tool_choice":"none"}`: {paris, "stop", 0},
		question + `}`:                   {paris, "stop", 0},
	} {
		var whole struct {
			Choices []struct {
				Message      map[string]any
				FinishReason string `json:"finish_reason"`
			}
		}
		if err := json.NewDecoder(post(t, ask, body).Body).Decode(&whole); err != nil {
			t.Fatal(err)
		}
		choice := whole.Choices[0]
		calls, _ := choice.Message["tool_calls"].([]any)
		if choice.Message["content"] != want.content || choice.FinishReason != want.finish || len(calls) != want.calls {
			t.Errorf("%s: answered %+v", body, choice)
		}
		if len(calls) > 0 {
			if call, _ := calls[0].(map[string]any); call["index"] != nil || call["id"] == "" {
				t.Errorf("call %v", call)
			}
		}
	}
	body := post(t, ask, tools+`,"stream":true}`).Body.String()
	for _, want := range []string{`"delta":{"tool_calls":[{"index":0,"id":"call_`, `"function":{"name":"weather","arguments":"{\"city\":\"Paris\",\"days\":2}"}}]}`, `"finish_reason":"tool_calls"`} {
		if !strings.Contains(body, want) {
			t.Errorf("streamed %s, want %s", body, want)
		}
	}
	if strings.Contains(body, "<tool_call>") || strings.Count(body, `"content"`) != 1 {
		t.Errorf("the block is among the words: %s", body)
	}
}

// TestToolCallsInSDK has the official client put a streamed call together.
func TestToolCallsInSDK(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(ChatCompletions(answers(nil, "I look. ", paris[:30], paris[30:], "\n"+paris), slog.New(slog.DiscardHandler)))
	t.Cleanup(server.Close)
	client := openaisdk.NewClient(option.WithBaseURL(server.URL), option.WithAPIKey("none"), option.WithMaxRetries(0))
	stream := client.Chat.Completions.NewStreaming(t.Context(), openaisdk.ChatCompletionNewParams{Model: "m",
		Messages: []openaisdk.ChatCompletionMessageParamUnion{openaisdk.UserMessage("hi")},
		Tools:    []openaisdk.ChatCompletionToolUnionParam{openaisdk.ChatCompletionFunctionTool(openaisdk.FunctionDefinitionParam{Name: "weather"})}})
	var all openaisdk.ChatCompletionAccumulator
	for stream.Next() {
		if !all.AddChunk(stream.Current()) {
			t.Fatalf("chunk %+v does not belong to the answer", stream.Current())
		}
	}
	if stream.Err() != nil || len(all.Choices) != 1 {
		t.Fatalf("%v, %+v", stream.Err(), all.Choices)
	}
	choice := all.Choices[0]
	if choice.Message.Content != "I look." || choice.FinishReason != "tool_calls" || len(choice.Message.ToolCalls) != 2 {
		t.Fatalf("answer %+v", choice)
	}
	for _, call := range choice.Message.ToolCalls {
		if call.Function.Name != "weather" || call.Function.Arguments != `{"city":"Paris","days":2}` || call.ID == "" {
			t.Errorf("call %+v", call)
		}
	}
}
