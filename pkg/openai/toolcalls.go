package openai

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
)

// finishToolCalls is the finish_reason of an answer that ends by itself and calls tools.
const finishToolCalls = "tool_calls"

// ToolCall is a tool that the model wants to have called.
type ToolCall struct {
	Index    *int         `json:"index,omitempty"` // in streams only
	ID       string       `json:"id"`
	Type     string       `json:"type"` // function
	Function FunctionCall `json:"function"`
}

// FunctionCall is the name of a function and what it is given, as a text of JSON.
type FunctionCall struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

const (
	callBegins = "<tool_call>"
	callEnds   = "</tool_call>"
)

// toolCalls takes the calls of tools out of the text of one answer while it comes: blocks that the templates of Qwen2.5,
// Qwen3 and Hermes teach,
//
//	<tool_call>
//	{"name": "weather", "arguments": {"city": "Paris"}}
//	</tool_call>
//
// The white space around a block belongs to it. A block that is no such JSON stays text, so that no word is lost.
type toolCalls struct {
	held  string // text that may belong to a block
	after bool   // whether only white space has come since the last block
	count int
}

// take adds a piece of the answer, or its end, and returns what is text for certain and the calls that are whole.
func (t *toolCalls) take(piece string, end bool) (text string, calls []ToolCall) {
	t.held += piece
	var said strings.Builder
	for {
		if t.after {
			t.held = strings.TrimLeftFunc(t.held, unicode.IsSpace)
			t.after = t.held == ""
		}
		before, block, found := strings.Cut(t.held, callBegins)
		if !found {
			keep := 0
			if !end {
				keep = len(t.held) - len(certain(t.held))
			}
			said.WriteString(t.held[:len(t.held)-keep])
			t.held = t.held[len(t.held)-keep:]
			return said.String(), calls
		}
		body, rest, closed := strings.Cut(block, callEnds)
		if !closed && !end {
			// What stands before the block is text, whatever the block turns out to be; its white space is not yet.
			words := strings.TrimRightFunc(before, unicode.IsSpace)
			said.WriteString(words)
			t.held = t.held[len(words):]
			return said.String(), calls
		}
		if call, ok := readCall(body); ok {
			said.WriteString(strings.TrimRightFunc(before, unicode.IsSpace))
			index := t.count
			call.Index = &index
			calls, t.count, t.held, t.after = append(calls, call), t.count+1, rest, true
			continue
		}
		said.WriteString(before + callBegins + body)
		t.held = rest
		if closed {
			said.WriteString(callEnds)
		}
	}
}

// certain is the beginning of a text that no block can claim, whatever follows: all but white space at its end and the
// beginning of the mark.
func certain(text string) string {
	for n := min(len(text), len(callBegins)-1); n > 0; n-- {
		if strings.HasSuffix(text, callBegins[:n]) {
			text = text[:len(text)-n]
			break
		}
	}
	return strings.TrimRightFunc(text, unicode.IsSpace)
}

// readCall reads what stands in a block.
func readCall(body string) (call ToolCall, ok bool) {
	var said struct {
		Name      string          `json:"name"`
		Arguments json.RawMessage `json:"arguments"`
	}
	if json.Unmarshal([]byte(body), &said) != nil || said.Name == "" {
		return call, false
	}
	arguments := "{}"
	if len(said.Arguments) > 0 && string(said.Arguments) != "null" {
		var compact bytes.Buffer
		if json.Unmarshal(said.Arguments, &arguments) != nil { // a text of JSON is taken as it is, an object becomes one
			if json.Compact(&compact, said.Arguments) != nil {
				return call, false
			}
			arguments = compact.String()
		}
	}
	return ToolCall{ID: "call_" + randomID(), Type: "function", Function: FunctionCall{Name: said.Name, Arguments: arguments}}, true
}
