// Package chat holds messages and renders them with a model's chat template, for training and for
// inference alike. It knows no tokenizer: it says by position which bytes of the rendered text the
// template wrote itself, which came from which message, and which belong to generation blocks.
package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"descant/pkg/chat/internal/jinja"
)

// Template is a parsed chat template. It is safe for concurrent use.
type Template struct {
	parsed *jinja.Template
	source string
	vars   []variable
}

type variable struct {
	name  string
	value jinja.Value
}

// TemplateError is what a template itself refuses, by raise_exception: the conversation is to be
// changed, not the template.
type TemplateError struct{ Message string }

func (e *TemplateError) Error() string {
	return "the chat template refuses the conversation: " + e.Message
}

// NewTemplate parses a template in Jinja as Hugging Face tokenizers carry it. vars are the special
// tokens by their names there (bos_token, eos_token, …); a token that the tokenizer lacks must be
// missing, not empty.
func NewTemplate(source string, vars map[string]string) (*Template, error) {
	parsed, err := jinja.Parse(source)
	if err != nil {
		return nil, fmt.Errorf("parse chat template: %w", err)
	}
	t := &Template{parsed: parsed, source: source}
	for name, text := range vars {
		t.vars = append(t.vars, variable{name, jinja.Plain(text)})
	}
	return t, nil
}

// Source returns the text of the template.
func (t *Template) Source() string { return t.source }

// Input is what a template is rendered with.
type Input struct {
	Messages []Message
	// Tools is a JSON list of the schemas of functions; nil is None in the template.
	Tools json.RawMessage
	// AddGenerationPrompt asks for the beginning of an assistant turn at the end.
	AddGenerationPrompt bool
	// Vars are further template variables (such as enable_thinking) in JSON.
	Vars map[string]json.RawMessage
	// Now is the time of strftime_now. Defaults to the present.
	Now time.Time
}

// Render returns the text of a conversation. A refusal by the template is a *TemplateError.
func (t *Template) Render(in Input) (string, error) {
	r, err := t.RenderParts(in)
	if err != nil {
		return "", err
	}
	return r.Text, nil
}

// RenderParts returns the text with where its bytes come from.
func (t *Template) RenderParts(in Input) (*Rendered, error) {
	vars, err := t.variables(in)
	if err != nil {
		return nil, err
	}
	now := in.Now
	if now.IsZero() {
		now = time.Now()
	}
	text, err := t.parsed.Render(vars, now)
	if err != nil {
		var e *jinja.Error
		if errors.As(err, &e) && e.Type == "TemplateError" {
			return nil, &TemplateError{e.Message}
		}
		return nil, fmt.Errorf("render chat template: %w", err)
	}
	return newRendered(text, in.Messages), nil
}

// variables builds the template's variables in the order and form of transformers.
func (t *Template) variables(in Input) (*jinja.Dict, error) {
	messages := &jinja.List{}
	for i, m := range in.Messages {
		v, err := messageValue(m, i)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i+1, err)
		}
		messages.Items = append(messages.Items, v)
	}
	d := jinja.NewDict()
	d.SetString("messages", messages)
	d.SetString("tools", nil)
	if in.Tools != nil {
		tools, err := jinja.FromJSON(in.Tools, jinja.SourceOther)
		if err != nil {
			return nil, fmt.Errorf("tools: %w", err)
		}
		d.SetString("tools", tools)
	}
	d.SetString("documents", nil)
	d.SetString("add_generation_prompt", in.AddGenerationPrompt)
	for _, v := range t.vars {
		d.SetString(v.name, v.value)
	}
	for name, raw := range in.Vars {
		v, err := jinja.FromJSON(raw, jinja.SourceOther)
		if err != nil {
			return nil, fmt.Errorf("template variable %q: %w", name, err)
		}
		d.SetString(name, v)
	}
	return d, nil
}

// messageValue makes the dict of message i: keys whose value is null are left out, and reasoning is
// found under both names that templates use.
func messageValue(m Message, i int) (jinja.Value, error) {
	d := jinja.NewDict()
	if m.simple() {
		d.SetString("role", roleValue(m.Role, i))
		d.SetString("content", jinja.Foreign(m.Content, i))
		return d, nil
	}
	v, err := jinja.FromJSON(m.Raw(), i)
	if err != nil {
		return nil, err
	}
	obj, ok := v.(*jinja.Dict)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	for key, v := range obj.All() {
		if v == nil {
			continue
		}
		if t, ok := v.(jinja.Text); ok && key.S == "role" {
			v = roleValue(t.S, i)
		}
		d.Set(key, v)
	}
	for _, name := range []string{"reasoning_content", "thinking", "reasoning"} {
		if v, ok := d.Get(jinja.Plain(name)); ok && jinja.Truth(v) {
			d.SetString("reasoning_content", v)
			if _, ok := d.Get(jinja.Plain("thinking")); !ok {
				d.SetString("thinking", v)
			}
			break
		}
	}
	return d, nil
}

// roleValue lets a role of word characters count as written by the template: many templates build
// a control token of it (`<|user|>`). Any other role stays foreign, so that it cannot become one.
func roleValue(role string, message int) jinja.Text {
	odd := func(r rune) bool {
		return r != '_' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}
	if strings.IndexFunc(role, odd) >= 0 {
		return jinja.Foreign(role, message)
	}
	return jinja.Plain(role)
}
