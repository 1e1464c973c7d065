package gguf

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"

	"descant/pkg/chat"
	"descant/pkg/tokenizer"
)

// instruction is one of a Modelfile: "parameter stop" for that of a stop text.
type instruction struct{ name, value string }

// readModelfile reads a Modelfile as Ollama does (https://docs.ollama.com/modelfile): instructions are words in any case; a
// value ends with its line, or with its closing quotes, """ or ", between which nothing is escaped.
func readModelfile(t *testing.T, text string) (list []instruction) {
	t.Helper()
	for text != "" {
		name, rest, _ := strings.Cut(text, " ")
		name = strings.ToLower(name)
		if name == "parameter" {
			var key string
			key, rest, _ = strings.Cut(rest, " ")
			name += " " + key
		}
		value, quotes := rest, ""
		for _, q := range []string{`"""`, `"`} {
			if strings.HasPrefix(rest, q) {
				quotes, value = q, rest[len(q):]
				break
			}
		}
		value, rest, ok := strings.Cut(value, quotes+"\n")
		if !ok || quotes == "" && value != strings.TrimSpace(value) {
			t.Fatalf("the value of %s does not end: %q", name, text)
		}
		list, text = append(list, instruction{name, value}), rest
	}
	return list
}

// TestModelfileForOllama: what Ollama reads in the file of a Qwen model are the files, a template that gives the texts of the
// model's own, its system message, and the texts of the ids that end an answer.
func TestModelfileForOllama(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("DESCANT_QWEN_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "testdata", "qwen")
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tok.Close()
	m, err := NewModelfile(tok, "./base.gguf", "./adapter.gguf")
	if err != nil {
		t.Fatal(err)
	}
	list := readModelfile(t, m.String())
	var names, stops []string
	values := map[string]string{}
	for _, i := range list {
		names, values[i.name] = append(names, i.name), i.value
		if i.name == "parameter stop" {
			stops = append(stops, i.value)
		}
	}
	if want := []string{"from", "adapter", "template", "system", "parameter stop", "parameter stop"}; !slices.Equal(names, want) {
		t.Fatalf("instructions %q, want %q", names, want)
	}
	if values["from"] != "./base.gguf" || values["adapter"] != "./adapter.gguf" || !slices.Equal(stops, []string{"<|im_end|>", "<|endoftext|>"}) {
		t.Errorf("read %q", list)
	}
	parsed, err := template.New("ollama").Parse(values["template"])
	if err != nil {
		t.Fatal(err)
	}
	own, err := tok.Template()
	if err != nil {
		t.Fatal(err)
	}
	for _, messages := range [][]chat.Message{
		{chat.NewMessage("user", "你好\n\"a\"")},
		{chat.NewMessage("system", "Be brief."), chat.NewMessage("user", "hi"), chat.NewMessage("assistant", "Well."), chat.NewMessage("user", "and?")},
	} {
		want, err := own.Render(chat.Input{Messages: messages, AddGenerationPrompt: true})
		if err != nil {
			t.Fatal(err)
		}
		if messages[0].Role != "system" { // Ollama puts it before such a conversation
			messages = slices.Insert(messages, 0, chat.NewMessage("system", values["system"]))
		}
		if got, err := ollama(parsed, messages); err != nil || got != want {
			t.Errorf("Ollama's text is %q, %v; the model's own %q", got, err, want)
		}
	}
}

// TestModelfileQuotes: texts come through a Modelfile as they are, or are not written.
func TestModelfileQuotes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"<|im_end|>": true, "a b": true, `say "no"`: true, "two\nlines": true, `back\slash`: true, "</s>": true,
		`three """ quotes`: false, "zero\u200bwidth": false, "a\u3000wide space": false,
	} {
		if writable(text) != want {
			t.Errorf("%q can be written: %v, want %v", text, !want, want)
			continue
		}
		m := &Modelfile{From: "x", stops: []string{text}}
		if list := readModelfile(t, m.String()); want && (len(list) != 2 || list[1].value != text) {
			t.Errorf("%q is read as %q", text, list)
		}
	}
}
