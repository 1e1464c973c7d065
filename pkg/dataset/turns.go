package dataset

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"descant/pkg/chat"
)

var roles = []string{"system", "developer", "user", "assistant", "tool"}

// list checks that a field is a list of objects with at least one element.
func (p *rowParser) list(v *value, field string) []value {
	if v.kind != kindArray {
		p.problem(CodeType, field, "write a list of turns", "the field %q is %s, not a list of turns", field, v.kind)
		return nil
	}
	if len(v.items) == 0 {
		p.problem(CodeTurn, field, "add the turns of the conversation", "the list %q is empty: there is no turn", field)
	}
	for i, item := range v.items {
		if item.kind != kindObject {
			p.problem(CodeType, fmt.Sprintf("%s[%d]", field, i+1), "write an object", "turn %d is %s, not an object", i+1, item.kind)
			return nil
		}
	}
	return v.items
}

// messages reads turns of the form {"role", "content"}.
func (p *rowParser) messages(v *value, field string) []chat.Message {
	var out []chat.Message
	for i, turn := range p.list(v, field) {
		prefix := fmt.Sprintf("%s[%d].", field, i+1)
		p.keyCase(&turn, []string{"role", "content", "tool_calls"})
		role, ok := p.text(&turn, prefix, "role")
		if ok && !slices.Contains(roles, role) {
			p.problem(CodeTurn, prefix+"role", "use one of "+strings.Join(roles, ", "), "turn %d has the unknown role %q", i+1, role)
		}
		m := chat.Message{Role: role}
		m.Name = p.optional(&turn, prefix, "name")
		m.ToolCallID = p.optional(&turn, prefix, "tool_call_id")
		m.ReasoningContent = p.optional(&turn, prefix, "reasoning_content")
		m.ToolCalls = p.toolCalls(turn.get("tool_calls"), prefix)
		m.Content = p.content(&turn, prefix, m.ToolCalls != nil)
		p.weights(&turn, prefix, role, i)
		switch {
		case role == "user":
			p.blank(ReasonEmptyPrompt, prefix+"content", m.Content)
		case role == "assistant" && m.ToolCalls == nil:
			p.blank(ReasonEmptyAnswer, prefix+"content", m.Content)
		}
		for _, mem := range turn.members {
			switch mem.key {
			case "role", "content", "name", "tool_call_id", "reasoning_content", "tool_calls", "weight", "loss_weight", "train":
			default:
				p.reader.report.unknown(field + "[]." + mem.key)
			}
		}
		out = append(out, m)
	}
	return out
}

// content is a text, or a list of parts that are texts.
func (p *rowParser) content(turn *value, prefix string, optional bool) string {
	v := turn.get("content")
	if optional && (v == nil || v.kind == kindNull) {
		return ""
	}
	if v == nil || v.kind != kindArray {
		s, _ := p.text(turn, prefix, "content")
		return s
	}
	var b strings.Builder
	for i, part := range v.items {
		field := fmt.Sprintf("%scontent[%d]", prefix, i+1)
		text := part.get("text")
		if text == nil {
			text = part.get("value")
		}
		switch kind := part.get("type"); {
		case part.kind == kindString:
			b.WriteString(part.str)
		case kind != nil && kind.str != "text":
			p.problem(CodeUnsupported, field, "only texts can be trained", "%q is a part of type %s", field, show(kind.raw))
		case text == nil || text.kind != kindString:
			p.problem(CodeType, field, `write {"type": "text", "text": "…"}`, "%q holds no text", field)
		default:
			b.WriteString(text.str)
		}
	}
	return b.String()
}

func (p *rowParser) toolCalls(v *value, prefix string) json.RawMessage {
	if v == nil || v.kind == kindNull || v.kind == kindArray && len(v.items) == 0 {
		return nil
	}
	if v.kind != kindArray {
		p.problem(CodeType, prefix+"tool_calls", "write a list of calls", "%q is %s, not a list", prefix+"tool_calls", v.kind)
		return nil
	}
	for i, call := range v.items {
		if call.kind != kindObject {
			p.problem(CodeType, fmt.Sprintf("%stool_calls[%d]", prefix, i+1), "write an object with the function and its arguments", "the call is %s, not an object", call.kind)
		}
	}
	return bytes.Clone(v.raw)
}

// turnWeight is what a row says itself about the training of one of its turns.
type turnWeight struct {
	turn    int
	trained bool
}

// weights reads the weight of a turn: 0 or 1, true or false. Only answers of the assistant can be trained by it.
func (p *rowParser) weights(turn *value, prefix, role string, i int) {
	for _, key := range []string{"weight", "loss_weight", "train"} {
		v := turn.get(key)
		if v == nil || v.kind == kindNull {
			continue
		}
		var trained bool
		switch string(v.raw) {
		case "0", "0.0", "false":
		case "1", "1.0", "true":
			trained = true
		default:
			p.problem(CodeUnsupported, prefix+key, "use 0 or 1", "the %s of the turn is %s: shares of a weight are not supported", key, v.raw)
			continue
		}
		if trained && role != "assistant" {
			p.problem(CodeUnsupported, prefix+key, "use 0, or remove it", "the %s of a turn of the %s is %s: only answers of the assistant can be weighted", key, role, v.raw)
			continue
		}
		p.weighed = append(p.weighed, turnWeight{i, trained})
	}
}

// trainedTurns says which messages are trained in a row that says so itself: answers without a weight are. shift is the
// number of messages that were put in front.
func (p *rowParser) trainedTurns(messages []chat.Message, shift int) []bool {
	trained := make([]bool, len(messages))
	for i, m := range messages {
		trained[i] = m.Role == "assistant"
	}
	for _, w := range p.weighed {
		trained[shift+w.turn] = w.trained
	}
	if !slices.Contains(trained, true) {
		p.empty = &RowNote{Line: p.line, Row: p.place, Reason: ReasonNoWeight, Field: "weight"}
	}
	p.reader.report.Weighted++
	return trained
}

// shareGPT reads turns of the form {"from", "value"}.
func (p *rowParser) shareGPT(v *value) []chat.Message {
	const field = "conversations"
	if v.kind == kindArray && len(v.items) > 0 && v.items[0].get("role") != nil && v.items[0].get("from") == nil {
		return p.messages(v, field) // the turns are written as messages
	}
	names := map[string]string{"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
		"system": "system", "observation": "tool", "tool": "tool", "function_call": "assistant"}
	var out []chat.Message
	for i, turn := range p.list(v, field) {
		prefix := fmt.Sprintf("%s[%d].", field, i+1)
		p.keyCase(&turn, []string{"from", "value"})
		from, ok := p.text(&turn, prefix, "from")
		text, _ := p.text(&turn, prefix, "value")
		role := names[from]
		if ok && role == "" {
			p.problem(CodeTurn, prefix+"from", "use human, gpt, system, function_call or observation", "turn %d comes from the unknown %q", i+1, from)
		}
		m := chat.Message{Role: role, Content: text}
		switch {
		case from == "function_call":
			m.Content, m.ToolCalls = "", p.callText(text, prefix+"value")
		case role == "user":
			p.blank(ReasonEmptyPrompt, prefix+"value", text)
		case role == "assistant":
			p.blank(ReasonEmptyAnswer, prefix+"value", text)
		}
		p.weights(&turn, prefix, role, i)
		for _, mem := range turn.members {
			if !slices.Contains([]string{"from", "value", "weight", "loss_weight", "train"}, mem.key) {
				p.reader.report.unknown(field + "[]." + mem.key)
			}
		}
		out = append(out, m)
	}
	return out
}

// callText reads the JSON text of one function call, or of a list of them.
func (p *rowParser) callText(text, field string) json.RawMessage {
	w := &walker{b: []byte(text)}
	v, err := w.value()
	if w.space(); err != nil || len(w.issues) > 0 || w.i < len(w.b) || v.kind != kindObject && v.kind != kindArray {
		p.problem(CodeType, field, `write {"name": "…", "arguments": {…}}`, "the text of the function call is not JSON")
		return nil
	}
	calls := []value{v}
	if v.kind == kindArray {
		calls = v.items
	}
	if len(calls) == 0 {
		p.problem(CodeMissing, field, `write {"name": "…", "arguments": {…}}`, "the list of function calls is empty")
	}
	var b bytes.Buffer
	for i, call := range calls {
		if call.kind != kindObject || call.get("name") == nil {
			p.problem(CodeMissing, field, `write {"name": "…", "arguments": {…}}`, "the function call has no name")
			return nil
		}
		b.WriteString(map[bool]string{true: "[", false: ", "}[i == 0])
		fmt.Fprintf(&b, `{"type": "function", "function": %s}`, call.raw)
	}
	b.WriteString("]")
	return b.Bytes()
}

// turns reads turns of the form {"system"?, "input", "output"}.
func (p *rowParser) turns(v *value) []chat.Message {
	const field = "conversation"
	var out []chat.Message
	for i, turn := range p.list(v, field) {
		prefix := fmt.Sprintf("%s[%d].", field, i+1)
		p.keyCase(&turn, []string{"system", "input", "output"})
		if system := p.optional(&turn, prefix, "system"); system != "" {
			out = append(out, chat.Message{Role: "system", Content: system})
		}
		input, _ := p.text(&turn, prefix, "input")
		output, _ := p.text(&turn, prefix, "output")
		p.blank(ReasonEmptyPrompt, prefix+"input", input)
		p.blank(ReasonEmptyAnswer, prefix+"output", output)
		out = append(out, chat.Message{Role: "user", Content: input}, chat.Message{Role: "assistant", Content: output})
		for _, mem := range turn.members {
			if !slices.Contains([]string{"system", "input", "output"}, mem.key) {
				p.reader.report.unknown(field + "[]." + mem.key)
			}
		}
	}
	return out
}

// order checks what every conversation needs: a question, and an answer at the end.
func (p *rowParser) order(row Row) {
	field := "messages"
	if row.Shape == ShapeShareGPT {
		field = "conversations"
	}
	n := len(row.Messages)
	if n == 0 {
		return
	}
	if last := row.Messages[n-1]; last.Role != "assistant" {
		p.problem(CodeTurn, fmt.Sprintf("%s[%d].role", field, n), "end with the answer of the assistant", "turn %d, the last one, is of the role %q: there is no answer behind it", n, last.Role)
		return
	}
	for _, m := range row.Messages {
		switch m.Role {
		case "user":
			return
		case "assistant":
			p.problem(CodeTurn, field, "begin with a turn of the user", "the assistant speaks before any turn of the user")
			return
		}
	}
	p.problem(CodeTurn, field, "add a turn of the user", "there is no turn of the user")
}
