package chat_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"descant/pkg/chat"
)

// parityCase is one record of chat_templates/cases.json.
type parityCase struct {
	TemplateFile        string                     `json:"template_file"`
	Conversation        string                     `json:"conversation"`
	Messages            []chat.Message             `json:"messages"`
	Tools               json.RawMessage            `json:"tools"`
	Kwargs              map[string]json.RawMessage `json:"kwargs"`
	AddGenerationPrompt bool                       `json:"add_generation_prompt"`
	BOS                 *string                    `json:"bos_token"`
	EOS                 *string                    `json:"eos_token"`
	Rendered            *string                    `json:"rendered"`
	Error               *struct{ Type, Message string }
	Spans               [][2]int `json:"assistant_spans_utf8"`
}

// parityDir is DESCANT_PARITY_DIR, else the project's own cases.
func parityDir() string {
	if dir := os.Getenv("DESCANT_PARITY_DIR"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "testdata", "parity")
}

// TestParityChatTemplates renders every case. Templates under own/ exercise rare features; what
// fails there is listed in docs/chat-templates.md and counted here.
func TestParityChatTemplates(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(parityDir(), "chat_templates")
	data, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Now   string
		Cases []parityCase
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	now, err := time.Parse("2006-01-02T15:04:05", file.Now)
	if err != nil {
		t.Fatal(err)
	}
	passed, total := map[string]int{}, map[string]int{}
	for i, c := range file.Cases {
		total[c.TemplateFile]++
		if err := c.check(dir, now); err != nil {
			t.Errorf("%s %s (case %d, generation prompt %v): %v", c.TemplateFile, c.Conversation, i, c.AddGenerationPrompt, err)
			continue
		}
		passed[c.TemplateFile]++
	}
	if len(file.Cases) == 0 {
		t.Fatal("no cases")
	}
	var names []string
	for name := range total {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		t.Logf("%-45s %d/%d", name, passed[name], total[name])
	}
}

func (c *parityCase) check(dir string, now time.Time) error {
	source, err := os.ReadFile(filepath.Join(dir, c.TemplateFile))
	if err != nil {
		return err
	}
	vars := map[string]string{}
	if c.BOS != nil {
		vars["bos_token"] = *c.BOS
	}
	if c.EOS != nil {
		vars["eos_token"] = *c.EOS
	}
	var got *chat.Rendered
	tmpl, err := chat.NewTemplate(string(source), vars)
	if err == nil {
		got, err = tmpl.RenderParts(chat.Input{Messages: c.Messages, Tools: c.Tools, Vars: c.Kwargs, AddGenerationPrompt: c.AddGenerationPrompt, Now: now})
	}
	if c.Error != nil {
		var refused *chat.TemplateError
		switch {
		case err == nil:
			return fmt.Errorf("rendered, want %s: %s", c.Error.Type, c.Error.Message)
		case c.Error.Type == "TemplateError" && (!errors.As(err, &refused) || refused.Message != c.Error.Message):
			return fmt.Errorf("got error %w, want %q", err, c.Error.Message)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if got.Text != *c.Rendered {
		return fmt.Errorf("text differs\n got %q\nwant %q", got.Text, *c.Rendered)
	}
	if strings.Contains(string(source), "endgeneration") && !equalSpans(got.Generation, c.Spans) {
		return fmt.Errorf("spans %v, want %v", got.Generation, c.Spans)
	}
	return nil
}

func equalSpans(got []chat.Span, want [][2]int) bool {
	if len(got) != len(want) {
		return false
	}
	for i, s := range got {
		if s.Start != want[i][0] || s.End != want[i][1] {
			return false
		}
	}
	return true
}
