package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Message is one turn of a conversation. A message read from JSON keeps its object byte for byte for
// the chat template, which sees the order of keys, and 1.0 apart from 1; the fields are then for
// reading only.
type Message struct {
	// Role is who speaks: system, user, assistant, tool or a role of the template's own.
	Role string
	// Content is the text. It is empty where the content of the object is not a string.
	Content string
	// ReasoningContent is the reasoning before the answer, for templates that show it.
	ReasoningContent string
	// ToolCalls is a JSON list of calls, {"type": "function", "function": {"name", "arguments"}}.
	ToolCalls json.RawMessage
	// ToolCallID and Name belong to turns of the role "tool".
	ToolCallID string
	Name       string

	raw json.RawMessage
}

// wireMessage is Message as a JSON object.
type wireMessage struct {
	Role             string          `json:"role"`
	Content          string          `json:"content"`
	ReasoningContent string          `json:"reasoning_content,omitempty"`
	ToolCalls        json.RawMessage `json:"tool_calls,omitempty"`
	ToolCallID       string          `json:"tool_call_id,omitempty"`
	Name             string          `json:"name,omitempty"`
}

// NewMessage returns a message of plain text.
func NewMessage(role, content string) Message { return Message{Role: role, Content: content} }

// UnmarshalJSON reads an object and keeps it.
func (m *Message) UnmarshalJSON(data []byte) error {
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(data, &fields); err != nil {
		return fmt.Errorf("read a message (it must be an object like {\"role\": \"user\", \"content\": \"…\"}): %w", err)
	}
	*m = Message{raw: bytes.Clone(data), ToolCalls: fields["tool_calls"]}
	for name, to := range map[string]*string{
		"role": &m.Role, "content": &m.Content, "reasoning_content": &m.ReasoningContent,
		"tool_call_id": &m.ToolCallID, "name": &m.Name,
	} {
		// What is not a string stays empty here; the template sees the object itself.
		_ = json.Unmarshal(fields[name], to)
	}
	return nil
}

// MarshalJSON writes the object that the message was read from, else its fields.
func (m Message) MarshalJSON() ([]byte, error) { return m.Raw(), nil }

// Raw returns the message as a JSON object.
func (m Message) Raw() json.RawMessage {
	if m.raw != nil {
		return m.raw
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(wireMessage{m.Role, m.Content, m.ReasoningContent, m.ToolCalls, m.ToolCallID, m.Name}); err != nil {
		// Only tool calls that are not JSON get here; as a text they are refused when it is read.
		return m.ToolCalls
	}
	return bytes.TrimSpace(b.Bytes())
}

// simple says whether role and content are all there is.
func (m Message) simple() bool {
	return m.raw == nil && m.ReasoningContent == "" && m.ToolCalls == nil && m.ToolCallID == "" && m.Name == ""
}
