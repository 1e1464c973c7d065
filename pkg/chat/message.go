package chat

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Message is one turn of a conversation. The object it was read from is kept byte for byte: chat
// templates see the order of its keys, and 1.0 apart from 1.
type Message struct {
	// Role is who speaks: system, user, assistant, tool or a role of the template's own.
	Role string
	// Content is the text. It is empty where the content of the object is not a string.
	Content string
	raw     json.RawMessage
}

// NewMessage returns a message of plain text.
func NewMessage(role, content string) Message { return Message{Role: role, Content: content} }

// UnmarshalJSON reads an object and keeps it.
func (m *Message) UnmarshalJSON(data []byte) error {
	var fields struct {
		Role    any `json:"role"`
		Content any `json:"content"`
	}
	if err := json.Unmarshal(data, &fields); err != nil {
		return fmt.Errorf("read a message (it must be an object like {\"role\": \"user\", \"content\": \"…\"}): %w", err)
	}
	*m = Message{raw: bytes.Clone(data)}
	m.Role, _ = fields.Role.(string)
	m.Content, _ = fields.Content.(string)
	return nil
}

// MarshalJSON writes the object that the message was read from, else its role and content.
func (m Message) MarshalJSON() ([]byte, error) { return m.Raw(), nil }

// Raw returns the message as a JSON object.
func (m Message) Raw() json.RawMessage {
	if m.raw != nil {
		return m.raw
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	// Encoding two strings cannot fail.
	_ = enc.Encode(struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}{m.Role, m.Content})
	return bytes.TrimSpace(b.Bytes())
}
