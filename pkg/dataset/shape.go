package dataset

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"descant/pkg/chat"
)

// Shape is the way in which a row is written.
type Shape string

// The shapes that are read.
const (
	// ShapeAlpaca is {"instruction", "input"?, "output", "system"?, "history"?}.
	ShapeAlpaca Shape = "alpaca"
	// ShapeMessages is {"messages": [{"role", "content", …}, …], "tools"?, "system"?}.
	ShapeMessages Shape = "messages"
	// ShapePrompt is {"prompt", "completion", "tools"?, "system"?}, both texts or both lists of messages.
	ShapePrompt Shape = "prompt-completion"
	// ShapeShareGPT is {"conversations": [{"from", "value"}, …], "tools"?, "system"?}.
	ShapeShareGPT Shape = "sharegpt"
	// ShapeTurns is {"conversation": [{"system"?, "input", "output"}, …]}.
	ShapeTurns Shape = "conversation"
	// ShapeText is {"text"}: a text that is trained as it is, without a chat template.
	ShapeText Shape = "text"
)

// shapeKeys are the keys that mean something, by shape; the first of each decides on the shape.
var shapeKeys = []struct {
	shape Shape
	keys  []string
}{
	{ShapeMessages, []string{"messages", "tools", "system"}},
	{ShapeShareGPT, []string{"conversations", "tools", "system"}},
	{ShapeTurns, []string{"conversation", "tools", "system"}},
	{ShapePrompt, []string{"prompt", "completion", "tools", "system"}},
	{ShapeAlpaca, []string{"instruction", "input", "output", "system", "history"}},
	{ShapeText, []string{"text"}},
}

// Fields are the names of all fields of rows, which a mapping of columns may use.
func Fields() []string {
	var all []string
	for _, s := range shapeKeys {
		for _, key := range s.keys {
			if !slices.Contains(all, key) {
				all = append(all, key)
			}
		}
	}
	return all
}

// rowParser turns one object into a row.
type rowParser struct {
	reader      *Reader
	line, place int
	bad         bool     // a problem was found
	empty       *RowNote // the row has nothing to train on
	weighed     []turnWeight
}

func (p *rowParser) problem(code Code, field, hint, found string, args ...any) {
	p.bad = true
	p.reader.problem(Problem{Code: code, Line: p.line, Row: p.place, Field: field, Found: fmt.Sprintf(found, args...), Hint: hint})
}

// blank notes the first empty text of the row.
func (p *rowParser) blank(reason Reason, field, text string) {
	if p.empty == nil && strings.TrimSpace(text) == "" {
		p.empty = &RowNote{Line: p.line, Row: p.place, Reason: reason, Field: field}
	}
}

// parse reads the row; false when it is bad or left out, which is then in the reader's problems or report.
func (p *rowParser) parse(v *value) (Row, bool) {
	row := Row{Line: p.line, Place: p.place}
	if v.kind != kindObject {
		p.problem(CodeNotObject, "", `a row is an object such as {"instruction": "…", "output": "…"}`, "%s was found in place of a row: %s", v.kind, show(v.raw))
		return row, false
	}
	if !p.rename(v) {
		return row, false
	}
	keys := p.shape(v, &row)
	if keys == nil {
		return row, false
	}
	before := p.bad
	p.keyCase(v, keys)
	if p.bad && !before {
		return row, false
	}
	switch row.Shape {
	case ShapeAlpaca:
		row.Messages = p.alpaca(v)
	case ShapeMessages:
		row.Messages = p.messages(v.get("messages"), "messages")
	case ShapePrompt:
		row.Messages = p.promptCompletion(v)
	case ShapeShareGPT:
		row.Messages = p.shareGPT(v.get("conversations"))
	case ShapeTurns:
		row.Messages = p.turns(v.get("conversation"))
	case ShapeText:
		return p.plain(v, row)
	}
	if slices.Contains(keys, "tools") {
		row.Tools = p.tools(v.get("tools"))
	}
	own := len(row.Messages)
	row.Messages = p.system(v.get("system"), row.Messages)
	if !p.bad {
		p.order(row)
	}
	if p.bad {
		return row, false
	}
	row.Messages = p.defaultSystem(row.Messages)
	if p.weighed != nil {
		row.Weights = p.trainedTurns(row.Messages, len(row.Messages)-own)
	}
	return row, p.finish(v, keys)
}

// finish is the end of a row without a problem: false when it has nothing to train on.
func (p *rowParser) finish(v *value, keys []string) bool {
	if p.empty != nil {
		p.reader.report.LeftOut.add(*p.empty)
		return false
	}
	for _, m := range v.members {
		if !slices.Contains(keys, m.key) {
			p.reader.report.unknown(m.key)
		}
	}
	return true
}

// plain reads a text that is trained as it is.
func (p *rowParser) plain(v *value, row Row) (Row, bool) {
	row.Text, _ = p.text(v, "", "text")
	if p.bad {
		return row, false
	}
	p.blank(ReasonEmptyAnswer, "text", row.Text)
	return row, p.finish(v, []string{"text"})
}

// rename gives columns the names of the fields that they stand for.
func (p *rowParser) rename(v *value) bool {
	columns := p.reader.opts.Columns
	if len(columns) == 0 {
		return true
	}
	for _, field := range sortedKeys(columns) {
		column := columns[field]
		if column != field && v.get(column) != nil && v.get(field) != nil && !mapped(columns, field) {
			p.problem(CodeDuplicate, field, "rename one of them, or leave the mapping out", "the column %q stands for the field %q, which is there, too", column, field)
			return false
		}
	}
	for i := range v.members {
		for field, column := range columns {
			if v.members[i].key == column {
				v.members[i].key = field
				break
			}
		}
	}
	return true
}

// mapped says whether a name is itself a column that stands for another field.
func mapped(columns map[string]string, name string) bool {
	for _, column := range columns {
		if column == name {
			return true
		}
	}
	return false
}

// defaultSystem puts the system text of the options in front of conversations without one.
func (p *rowParser) defaultSystem(messages []chat.Message) []chat.Message {
	text := p.reader.opts.System
	if text == "" || len(messages) == 0 || messages[0].Role == "system" || messages[0].Role == "developer" {
		return messages
	}
	return append([]chat.Message{{Role: "system", Content: text}}, messages...)
}

// shape recognises the shape and returns its keys, or nil after reporting that there is none.
func (p *rowParser) shape(v *value, row *Row) []string {
	for _, s := range shapeKeys {
		for _, m := range v.members {
			alpaca := s.shape == ShapeAlpaca && strings.EqualFold(m.key, "output")
			if alpaca || strings.EqualFold(strings.TrimSpace(m.key), s.keys[0]) {
				row.Shape = s.shape
				return s.keys
			}
		}
	}
	p.problem(CodeMissing, "instruction", `name the texts "instruction", "input" and "output", or use "messages"`,
		`the fields "instruction" and "output" (or "messages") are missing; the keys there are %s`, v.keys())
	return nil
}

// keyCase reports keys that are right but for case or spaces: they are neither used nor ignored in silence.
func (p *rowParser) keyCase(v *value, keys []string) {
	for _, m := range v.members {
		for _, key := range keys {
			if m.key != key && strings.EqualFold(strings.TrimSpace(m.key), key) {
				p.problem(CodeKeyCase, m.key, fmt.Sprintf("write it as %q", key), "the key %q is not %q; the keys there are %s", m.key, key, v.keys())
			}
		}
	}
}

// aliases are names that other tools give to the fields.
var aliases = map[string][]string{
	"instruction": {"question", "query", "prompt", "user"},
	"output":      {"response", "answer", "completion", "target", "assistant"},
	"completion":  {"response", "answer", "output", "target"},
	"role":        {"from"},
	"content":     {"value", "text"},
	"from":        {"role"},
	"value":       {"content", "text"},
}

// text is the text of a required field.
func (p *rowParser) text(v *value, prefix, field string) (string, bool) {
	val := v.get(field)
	if val == nil {
		hint := fmt.Sprintf("add %q", field)
		for _, alias := range aliases[field] {
			if v.get(alias) != nil {
				hint = fmt.Sprintf("rename %q to %q", alias, field)
			}
		}
		p.problem(CodeMissing, prefix+field, hint, "the field %q is missing; the keys there are %s", prefix+field, v.keys())
		return "", false
	}
	if val.kind != kindString {
		p.problem(CodeType, prefix+field, "write it as a text in quotes", "the field %q is %s, not a text", prefix+field, val.kind)
		return "", false
	}
	return val.str, true
}

// optional is the text of a field that may be absent or null, which both mean "".
func (p *rowParser) optional(v *value, prefix, field string) string {
	if val := v.get(field); val == nil || val.kind == kindNull {
		return ""
	}
	s, _ := p.text(v, prefix, field)
	return s
}

func (p *rowParser) alpaca(v *value) []chat.Message {
	instruction, ok1 := p.text(v, "", "instruction")
	input := p.optional(v, "", "input")
	output, ok2 := p.text(v, "", "output")
	messages := p.history(v.get("history"))
	if ok1 && ok2 {
		p.blank(ReasonEmptyPrompt, "instruction", instruction)
		p.blank(ReasonEmptyAnswer, "output", output)
	}
	if input != "" {
		instruction += "\n" + input
	}
	return append(messages, chat.Message{Role: "user", Content: instruction}, chat.Message{Role: "assistant", Content: output})
}

// history reads the earlier turns of an alpaca row: a list of pairs of texts.
func (p *rowParser) history(v *value) []chat.Message {
	if v == nil || v.kind == kindNull {
		return nil
	}
	const hint = `write it as [["question", "answer"], …]`
	if v.kind != kindArray {
		p.problem(CodeType, "history", hint, `the field "history" is %s, not a list of pairs`, v.kind)
		return nil
	}
	var messages []chat.Message
	for i, pair := range v.items {
		field := fmt.Sprintf("history[%d]", i+1)
		if pair.kind != kindArray || len(pair.items) != 2 || pair.items[0].kind != kindString || pair.items[1].kind != kindString {
			p.problem(CodeType, field, hint, "%q is not a pair of texts", field)
			continue
		}
		p.blank(ReasonEmptyPrompt, field, pair.items[0].str)
		p.blank(ReasonEmptyAnswer, field, pair.items[1].str)
		messages = append(messages, chat.Message{Role: "user", Content: pair.items[0].str}, chat.Message{Role: "assistant", Content: pair.items[1].str})
	}
	return messages
}

// promptCompletion reads the two halves of a conversation.
func (p *rowParser) promptCompletion(v *value) []chat.Message {
	if a, b := v.get("prompt"), v.get("completion"); a.kind == kindArray && b != nil && b.kind == kindArray {
		return append(p.messages(a, "prompt"), p.messages(b, "completion")...)
	}
	prompt, ok1 := p.text(v, "", "prompt")
	completion, ok2 := p.text(v, "", "completion")
	if ok1 && ok2 {
		p.blank(ReasonEmptyPrompt, "prompt", prompt)
		p.blank(ReasonEmptyAnswer, "completion", completion)
	}
	return []chat.Message{{Role: "user", Content: prompt}, {Role: "assistant", Content: completion}}
}

// system puts a system text that stands beside the turns in front of them.
func (p *rowParser) system(v *value, messages []chat.Message) []chat.Message {
	if v == nil || v.kind == kindNull {
		return messages
	}
	if v.kind != kindString {
		p.problem(CodeType, "system", "write it as a text in quotes", `the field "system" is %s, not a text`, v.kind)
		return messages
	}
	if v.str == "" {
		return messages
	}
	if len(messages) > 0 && messages[0].Role == "system" {
		p.problem(CodeTurn, "system", "keep one of them", `there is a field "system" and a system turn`)
	}
	return append([]chat.Message{{Role: "system", Content: v.str}}, messages...)
}

// tools is the list of tools, which may also be written as JSON text; an empty list or text is none.
func (p *rowParser) tools(v *value) json.RawMessage {
	if v == nil || v.kind == kindNull {
		return nil
	}
	if v.kind == kindString {
		if strings.TrimSpace(v.str) == "" {
			return nil
		}
		w := &walker{b: []byte(v.str)}
		inner, err := w.value()
		if w.space(); err != nil || len(w.issues) > 0 || w.i < len(w.b) || inner.kind != kindArray {
			p.problem(CodeType, "tools", "write the list itself", `the text of "tools" is not a JSON list`)
			return nil
		}
		v = &inner
	}
	if v.kind != kindArray {
		p.problem(CodeType, "tools", "write a list of tool descriptions", `the field "tools" is %s, not a list`, v.kind)
		return nil
	}
	for i, item := range v.items {
		if item.kind != kindObject {
			p.problem(CodeType, fmt.Sprintf("tools[%d]", i+1), "write an object with name and parameters", "tool %d is %s, not an object", i+1, item.kind)
		}
	}
	if len(v.items) == 0 {
		return nil
	}
	return bytes.Clone(v.raw)
}
