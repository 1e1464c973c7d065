package chat_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"descant/pkg/chat"
)

func TestMessageKeepsItsObject(t *testing.T) {
	t.Parallel()
	const source = `{"content": "x", "role": "assistant", "weight": 1.0, "tool_calls": [{"z": 1, "a": 2}], "name": "n"}`
	var m chat.Message
	if err := json.Unmarshal([]byte(source), &m); err != nil {
		t.Fatal(err)
	}
	if m.Role != "assistant" || m.Content != "x" || m.Name != "n" || string(m.ToolCalls) != `[{"z": 1, "a": 2}]` || string(m.Raw()) != source {
		t.Errorf("%+v, raw %s", m, m.Raw())
	}
	if got := string(chat.NewMessage("user", "<&\u2028\"").Raw()); got != `{"role":"user","content":"<&\u2028\""}` {
		t.Errorf("raw %s", got)
	}
	if err := json.Unmarshal([]byte(`["x"]`), &m); err == nil || !strings.Contains(err.Error(), "object") {
		t.Errorf("a list as a message: %v", err)
	}
}

func TestTemplateSeesOrderAndNumbers(t *testing.T) {
	t.Parallel()
	tmpl, err := chat.NewTemplate("{{ messages[0] | tojson }} {{ tools | tojson }} {{ extra }} {{ bos_token is defined }} {{ eos_token }}", map[string]string{"eos_token": "</s>"})
	if err != nil {
		t.Fatal(err)
	}
	var m chat.Message
	if err := json.Unmarshal([]byte(`{"z": 1.0, "role": "user", "n": null, "a": 1, "thinking": "t"}`), &m); err != nil {
		t.Fatal(err)
	}
	got, err := tmpl.Render(chat.Input{Messages: []chat.Message{m}, Tools: json.RawMessage(`[{"b": "<&>"}]`), Vars: map[string]json.RawMessage{"extra": json.RawMessage("2.50")}})
	if want := `{"z": 1.0, "role": "user", "a": 1, "thinking": "t", "reasoning_content": "t"} [{"b": "<&>"}] 2.5 False </s>`; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestOriginsAndTurns(t *testing.T) {
	t.Parallel()
	tmpl, err := chat.NewTemplate("{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := tmpl.RenderParts(chat.Input{Messages: []chat.Message{
		chat.NewMessage("user", "<user>"), chat.NewMessage("assistant", ""), chat.NewMessage("a|b", "x"), chat.NewMessage("assistant", "y"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	// 0 <user> 6 <user> 12 ; 13 <assistant> 24 ; 25 < a|b > x ; 31 <assistant> 42 y ; 44
	want := []chat.Origin{{Span: chat.Span{Start: 6, End: 12}, Message: 0}, {Span: chat.Span{Start: 24, End: 24}, Message: 1}, {Span: chat.Span{Start: 26, End: 29}, Message: 2}, {Span: chat.Span{Start: 30, End: 31}, Message: 2}, {Span: chat.Span{Start: 43, End: 44}, Message: 3}}
	if !reflect.DeepEqual(r.Origins, want) {
		t.Errorf("%q: origins %v, want %v (an odd role is foreign text)", r.Text, r.Origins, want)
	}
	turns := []chat.Turn{{Span: chat.Span{Start: 24, End: 24}, After: 12, Until: 26, Message: 1}, {Span: chat.Span{Start: 43, End: 44}, After: 31, Until: len(r.Text), Message: 3}}
	if got := r.AssistantTurns(); !reflect.DeepEqual(got, turns) {
		t.Errorf("turns %v, want %v", got, turns)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	tmpl, err := chat.NewTemplate("{{ raise_exception('roles must alternate') }}", nil)
	if err != nil {
		t.Fatal(err)
	}
	var refused *chat.TemplateError
	if _, err := tmpl.Render(chat.Input{}); !errors.As(err, &refused) || refused.Message != "roles must alternate" {
		t.Errorf("error %v", err)
	}
	if _, err := chat.NewTemplate("a\n{% for %}", nil); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("error %v", err)
	}
}
