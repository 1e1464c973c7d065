package chat_test

import (
	"os"
	"path/filepath"
	"testing"

	"descant/pkg/chat"
)

// BenchmarkRender renders a row of two turns with a ChatML template.
func BenchmarkRender(b *testing.B) {
	source, err := os.ReadFile(filepath.Join(parityDir(), "chat_templates", "own", "chatml_tools.jinja"))
	if err != nil {
		b.Fatal(err)
	}
	tmpl, err := chat.NewTemplate(string(source), nil)
	if err != nil {
		b.Fatal(err)
	}
	in := chat.Input{Messages: []chat.Message{chat.NewMessage("user", "What is the name of the harbour?"), chat.NewMessage("assistant", "It is written on the boat.")}}
	for b.Loop() {
		if _, err := tmpl.RenderParts(in); err != nil {
			b.Fatal(err)
		}
	}
}
