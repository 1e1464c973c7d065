package gguf

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"descant/pkg/chat"
	"descant/pkg/tokenizer"
)

// Modelfile is what Ollama needs to serve an adapter.
type Modelfile struct {
	// From is the base for Ollama: a GGUF file, a folder, or the name of a model of its library.
	From string
	// Adapter is the GGUF file of the adapter; "" for the bare base.
	Adapter string
	// Family is the kind of chat template that was found; "" if none gives the texts of the model's own.
	Family string

	template, system string
	stops            []string
}

// ollamaTemplate is a chat template in Ollama's language, Go's text/template over .Messages.
type ollamaTemplate struct{ family, text string }

func ollamaTemplates() []ollamaTemplate {
	return []ollamaTemplate{
		{"chatml", "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"},
		{"llama3", "{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n{{ .Content }}<|eot_id|>" +
			"{{ end }}<|start_header_id|>assistant<|end_header_id|>\n\n"},
		{"mistral", `{{- range .Messages }}{{ if eq .Role "user" }}[INST] {{ .Content }} [/INST]` +
			`{{ else if eq .Role "assistant" }} {{ .Content }}</s>{{ end }}{{ end }}`},
		{"mistral-tight", `{{- range .Messages }}{{ if eq .Role "user" }}[INST] {{ .Content }}[/INST]` +
			`{{ else if eq .Role "assistant" }} {{ .Content }}</s>{{ end }}{{ end }}`},
	}
}

// NewModelfile finds a template for Ollama whose texts are those of the model's own chat template, by rendering
// conversations with both.
func NewModelfile(t *tokenizer.Tokenizer, from, adapter string) (*Modelfile, error) {
	m := &Modelfile{From: from, Adapter: adapter}
	for _, id := range t.EOS() {
		// It stops at the id itself, too, which the GGUF file names.
		if text := t.Decode([]int32{id}, false); text != "" && writable(text) {
			m.stops = append(m.stops, text)
		}
	}
	own, err := t.Template()
	if errors.Is(err, tokenizer.ErrNoTemplate) {
		return m, nil // it completes texts
	}
	if err != nil {
		return nil, err
	}
	r := &renderings{own: own, bos: t.SpecialTokens()["bos_token"]}
	for _, candidate := range ollamaTemplates() {
		parsed, err := template.New(candidate.family).Parse(candidate.text)
		if err != nil {
			return nil, fmt.Errorf("template %s: %w", candidate.family, err)
		}
		if system, ok := r.match(parsed); ok {
			m.Family, m.template, m.system = candidate.family, candidate.text, system
			return m, nil
		}
	}
	return m, nil
}

// renderings compares templates on conversations.
type renderings struct {
	own *chat.Template
	bos string
}

type turns = []chat.Message

// match says whether Ollama's template gives the texts of the model's own, with a system message that stands where
// a conversation has none.
func (r *renderings) match(candidate *template.Template) (system string, ok bool) {
	user, answer := chat.NewMessage("user", "How are you?\n你好"), chat.NewMessage("assistant", "Well.")
	plain := turns{user}
	if !r.same(candidate, plain, "") {
		if system, ok = r.defaultSystem(candidate, plain); !ok {
			return "", false
		}
	}
	withSystem := turns{chat.NewMessage("system", "Be brief."), user}
	// A template may know no system message; Ollama's must not then invent one.
	if _, err := r.render(withSystem); err == nil && !r.same(candidate, withSystem, "") {
		return "", false
	}
	return system, r.same(candidate, turns{user, answer, user}, system)
}

// defaultSystem finds the system message that the model's own template puts before a conversation without one: the
// text that stands there in Ollama's template.
func (r *renderings) defaultSystem(candidate *template.Template, messages turns) (string, bool) {
	own, err := r.render(messages)
	if err != nil {
		return "", false
	}
	const mark = "\x00"
	frame, err := ollama(candidate, append(turns{chat.NewMessage("system", mark)}, messages...))
	before, after, found := strings.Cut(frame, mark)
	if err != nil || !found || !strings.HasPrefix(own, before) || !strings.HasSuffix(own, after) || len(own) < len(before)+len(after) {
		return "", false
	}
	system := own[len(before) : len(own)-len(after)]
	return system, writable(system) && r.same(candidate, messages, system)
}

// same compares one conversation. Ollama puts the default system message before it.
func (r *renderings) same(candidate *template.Template, messages turns, system string) bool {
	own, err := r.render(messages)
	if err != nil {
		return false
	}
	if system != "" {
		messages = slices.Insert(slices.Clone(messages), 0, chat.NewMessage("system", system))
	}
	theirs, err := ollama(candidate, messages)
	return err == nil && own == theirs
}

// render is the model's own text, without the token of the beginning, which llama.cpp adds itself.
func (r *renderings) render(messages turns) (string, error) {
	text, err := r.own.Render(chat.Input{Messages: messages, AddGenerationPrompt: true})
	return strings.TrimPrefix(text, r.bos), err
}

func ollama(t *template.Template, messages turns) (string, error) {
	var b strings.Builder
	err := t.Execute(&b, map[string]any{"Messages": messages})
	return b.String(), err
}

// String is the text of the file.
func (m *Modelfile) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "FROM %s\n", m.From)
	if m.Adapter != "" {
		fmt.Fprintf(&b, "ADAPTER %s\n", m.Adapter)
	}
	if m.template != "" {
		fmt.Fprintf(&b, "TEMPLATE \"\"\"%s\"\"\"\n", m.template)
	}
	if m.system != "" {
		fmt.Fprintf(&b, "SYSTEM \"\"\"%s\"\"\"\n", m.system)
	}
	for _, stop := range m.stops {
		fmt.Fprintf(&b, "PARAMETER stop %s\n", quoted(stop))
	}
	return b.String()
}

// quoted puts a text into the quotes of a Modelfile, within which nothing is escaped.
func quoted(text string) string {
	if strings.ContainsAny(text, "\"\n") {
		return `"""` + text + `"""`
	}
	return `"` + text + `"`
}

// writable says whether a Modelfile can hold a text: Ollama's parser drops what cannot be printed, and a text ends with its
// quotes.
func writable(text string) bool {
	return !strings.Contains(text, `"""`) && strings.IndexFunc(text, func(r rune) bool {
		return !strconv.IsPrint(r) && r != '\t' && r != '\n'
	}) < 0
}
