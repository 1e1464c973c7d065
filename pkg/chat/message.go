package chat

import "encoding/json"

// Message is one turn of a conversation, in the fields that chat templates know.
type Message struct {
	// Role is "system", "user", "assistant", "tool" or what else a template knows.
	Role string `json:"role"`
	// Content is the text of the turn; it may be empty where ToolCalls are there.
	Content string `json:"content"`
	// ReasoningContent is the reasoning before the answer, for templates that show it.
	ReasoningContent string `json:"reasoning_content,omitempty"`
	// ToolCalls is a JSON list of calls, [{"type": "function", "function": {"name", "arguments"}}], as it was written: the order
	// of its keys matters.
	ToolCalls json.RawMessage `json:"tool_calls,omitempty"`
	// ToolCallID and Name belong to turns of the role "tool".
	ToolCallID string `json:"tool_call_id,omitempty"`
	Name       string `json:"name,omitempty"`
}
