package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestConversation changes the adapter in the middle, compares, and saves. It is not parallel: the embedded object store
// changes the working folder.
func TestConversation(t *testing.T) {
	t.Chdir(t.TempDir())
	base, adapter := parityCase(t)
	lines := []string{"/compare base", "hello", "/adapter " + adapter, "hello", "/reset", "hello", "/compare base " + adapter, "/save said.jsonl", "/quit", "never asked"}
	var said []map[string]any
	ask := func(lines ...string) (problems string) {
		var out, err bytes.Buffer
		code := run([]string{"chat", "--model", base, "--max-tokens", "4", "--temperature", "0", "--json"},
			streams{in: strings.NewReader(strings.Join(lines, "\n") + "\n"), out: &out, err: &err}, apart(t))
		if code != exitOK {
			return err.String()
		}
		said = nil
		for decoder := json.NewDecoder(&out); decoder.More(); {
			one := map[string]any{}
			if err := decoder.Decode(&one); err != nil {
				t.Fatal(err)
			}
			said = append(said, one)
		}
		return ""
	}
	if problems := ask(lines[0]); !strings.Contains(problems, "no question yet") {
		t.Errorf("a comparison before a question: %s", problems)
	}
	cwd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if problems := ask(lines[1:]...); problems != "" {
		t.Fatal(problems)
	}
	var adapters []string
	for _, one := range said {
		adapters = append(adapters, one["adapter_dir"].(string))
	}
	if want := "," + adapter + "," + adapter + ",," + adapter; strings.Join(adapters, ",") != want {
		t.Fatalf("answers of %q, want %q", adapters, want)
	}
	if said[0]["answer"] != said[3]["answer"] || said[2]["answer"] != said[4]["answer"] {
		t.Errorf("a comparison answers otherwise than a conversation: %v", said)
	}
	if said[1]["prompt_tokens"].(float64) <= said[2]["prompt_tokens"].(float64) {
		t.Errorf("what was said was lost with the change of the adapter: %v", said)
	}
	text, err := os.ReadFile(filepath.Join(cwd, "said.jsonl"))
	if err != nil || strings.Count(string(text), `"role"`) != 2 || !strings.Contains(string(text), `{"messages":[{"role":"user","content":"hello"}`) {
		t.Errorf("saved %s, %v", text, err)
	}
}

func TestQuestionOfSeveralLines(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"one": "one", `a\|b`: "a\nb", `"""|a|  b\|c|"""`: "a\n  b\\\nc", "  x ": "x",
	} {
		var q question
		lines := strings.Split(typed, "|")
		for i, line := range lines {
			text, whole := q.add(line)
			if last := i == len(lines)-1; whole != last || q.open() == last || last && text != want {
				t.Errorf("%q, line %d: %q, whole %v, open %v", typed, i+1, text, whole, q.open())
			}
		}
	}
}

func TestSideBySide(t *testing.T) {
	t.Parallel()
	texts := []string{"one two three four five six seven", "你好你好你好你好你好你好你好\nx"}
	got := sideBySide([]string{"base", "poet"}, texts, 51)
	want := "base                     │ poet\n" + strings.Repeat("─", 24) + " │ " + strings.Repeat("─", 24) + "\n" +
		"one two three four five  │ 你好你好你好你好你好你好\nsix seven                │ 你好\n" + strings.Repeat(" ", 25) + "│ x\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	long := strings.Split(sideBySide([]string{"base", strings.Repeat("n", 30)}, texts, 51), "\n")
	if rule := strings.Repeat("─", 24); long[2] != rule+" │ "+rule {
		t.Errorf("below a long name: %q", long)
	}
	if got := sideBySide([]string{"a", "b"}, []string{"x\n", "y"}, 20); got != "── a\nx\n── b\ny\n" {
		t.Errorf("without room: %q", got)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	for width, want := range map[int]string{-1: "", 0: "", 1: "a", 2: "a", 3: "a你", 4: "a你b", 9: "a你b"} {
		if got := cut("a你b", width); got != want {
			t.Errorf("%d columns: %q, want %q", width, got, want)
		}
	}
}

func TestHistoryIsPrivate(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	path := historyFile([]string{"HOME=" + home})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || !strings.HasPrefix(path, home) {
		t.Errorf("%s: %v, %v", path, info, err)
	}
	if path := historyFile(nil); path != "" {
		t.Errorf("without a home: %s", path)
	}
}
