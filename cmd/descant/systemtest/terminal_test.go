package systemtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	arrowUp = "\x1b[A"
	ctrlC   = "\x03"
	ctrlD   = "\x04"
)

// apart is the environment of a person who has no lines of earlier conversations.
func apart(t *testing.T) []string {
	t.Helper()
	return []string{"DESCANT_DEVICE=go", "DESCANT_HUB_OFFLINE=true", "XDG_STATE_HOME=" + t.TempDir()}
}

// TestChatAtATerminal talks to a model as a person does.
func TestChatAtATerminal(t *testing.T) {
	t.Parallel()
	dir, environ := t.TempDir(), apart(t)
	if err := Launch(t, Command{Name: "train", Dir: dir, Env: environ,
		Args: []string{"train", "--model", "builtin:tiny", "--max-steps", "2", "--output-dir", "out"}}).Wait(t); err != nil {
		t.Fatalf("train an adapter: %v", err)
	}
	c := openConsole(t, dir, environ, "chat", "--model", "builtin:tiny", "--temperature", "0", "--max-tokens", "24")
	ready := func() {
		t.Helper()
		c.expect("\n> ")
	}
	c.expect("Talking to builtin:tiny. /help lists the commands, Ctrl-D leaves.")
	ready()
	c.types("hello\r")
	c.expect("hello\n")
	ready()
	c.types(arrowUp)
	c.expect("hello") // the line of before
	c.types(" again\r")
	c.expect("hello again\n")
	ready()
	c.types("one\\\r")
	c.expect("… ")
	c.types("two\r")
	ready()
	c.types("\"\"\"\r")
	c.expect("… ")
	c.types("three\r")
	c.expect("… ")
	c.types("  four\r")
	c.expect("… ")
	c.types("\"\"\"\r")
	ready()
	c.types("dropped\\\r")
	c.expect("… ")
	c.types(ctrlC) // drops the line that was begun
	ready()
	c.types("/hlep\r")
	c.expect("did you mean /help?")
	ready()
	c.types("/ad\t")
	c.expect("/adapter ")
	c.types("ou\t")
	c.expect("out/")
	c.types("\r")
	c.expect("Talking to out/.")
	ready()
	c.types("five\r")
	ready()
	c.types("/compare base out/\r")
	c.expect("base")
	c.expect("│ out/")
	c.expect("──")
	ready()
	c.types("/save talk.jsonl\r")
	c.expect("Saved 10 messages")
	ready()
	c.types("/system Answer in one word.\r")
	c.expect("A new conversation begins, with the system message: Answer in one word.")
	ready()
	c.types("六\r")
	ready()
	c.types("/save talk.jsonl\r")
	c.expect("Saved 3 messages")
	ready()
	c.types("/reset\r")
	c.expect("A new conversation begins, with the system message")
	ready()
	c.types(ctrlD)
	if code := c.code(); code != 0 {
		t.Errorf("Ctrl-D ends with exit code %d", code)
	}
	if colours.MatchString(c.given()) {
		t.Errorf("a conversation has colours: %q", colours.FindString(c.given()))
	}

	said := conversations(t, filepath.Join(dir, "talk.jsonl"))
	if len(said) != 2 {
		t.Fatalf("saved %v", said)
	}
	var asked []string
	for _, row := range said {
		for _, message := range row {
			if message.Role != "assistant" {
				asked = append(asked, message.Content)
			} else if words := strings.Fields(message.Content); len(words) == 0 || !strings.Contains(c.plain(), words[0]) {
				t.Errorf("the terminal did not show %q", message.Content)
			}
		}
	}
	if got, want := strings.Join(asked, "|"), "hello|hello again|one\ntwo|three\n  four|five|Answer in one word.|六"; got != want {
		t.Errorf("asked\n%q, want\n%q", got, want)
	}
}

// message is one of a conversation that was saved.
type message struct{ Role, Content string }

func conversations(t *testing.T, path string) (all [][]message) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		var row struct{ Messages []message }
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		all = append(all, row.Messages)
	}
	return all
}

// TestChatIsInterrupted stops an answer that would go on for long, and goes on; the next conversation knows the lines of this.
func TestChatIsInterrupted(t *testing.T) {
	t.Parallel()
	dir, environ := t.TempDir(), apart(t)
	base := filepath.Join(dir, "base")
	TinyBase(t, base)
	args := []string{"chat", "--model", base, "--max-tokens", "900"}
	c := openConsole(t, dir, environ, args...)
	c.expect("\n> ")
	c.types("a long story\r")
	c.expect("a long story\n")
	c.grows(20) // it has begun
	c.types(ctrlC)
	c.expect("(stopped)")
	c.expect("\n> ")
	c.types(ctrlC) // at the prompt it leaves nothing behind, and does not leave
	c.expect("\n> ")
	c.types("/save talk.jsonl\r")
	c.expect("nothing has been said yet")
	c.expect("\n> ")
	c.types("/quit\r")
	if code := c.code(); code != 0 {
		t.Errorf("/quit ends with exit code %d", code)
	}

	again := openConsole(t, dir, environ, args...)
	again.expect("\n> ")
	again.types(arrowUp + arrowUp + arrowUp)
	again.expect("a long story")
	again.types(ctrlC)
	again.expect("\n> ")
	again.types(ctrlD)
	if code := again.code(); code != 0 {
		t.Errorf("Ctrl-D ends with exit code %d", code)
	}
}

// TestWatchAtATerminal watches a job that goes on for long, and the load of the system, at a terminal and in a pipe.
func TestWatchAtATerminal(t *testing.T) {
	t.Parallel()
	s := OneProcess(t)
	submitted := s.Publish(t, s.Raw(t), map[string]any{"model": s.Base, "dataset": "builtin:sample", "name": "long", "max_length": 64, "max_steps": 100000, "val_size": 0.1, "eval_steps": 5})
	job := submitted.GetJob()
	where := []string{"--bus-url", s.NATSURL}

	for name, environ := range map[string][]string{"with colours": apart(t), "without": append(apart(t), "NO_COLOR=1")} {
		c := openConsole(t, t.TempDir(), environ, append([]string{"jobs", "watch", job}, where...)...)
		c.expect("┤") // the axis
		c.expect("training  step ")
		c.expect("/100000  loss ")
		c.expect("─ train  • eval, last ")
		c.types(ctrlC)
		c.expect("no longer following; the job goes on")
		if code := c.code(); code != 130 {
			t.Errorf("%s: Ctrl-C ends with exit code %d", name, code)
		}
		if colours.MatchString(c.given()) != (name == "with colours") {
			t.Errorf("%s: the terminal was given %q", name, colours.FindString(c.given()))
		}
	}
	piped := Launch(t, Command{Name: "watch in a pipe", Env: apart(t), Args: append([]string{"jobs", "watch", job}, where...)})
	waitFor(t, piped, "step 3/100000  loss ")
	piped.Stop(t)
	if out := piped.Output(); strings.ContainsAny(out, "\x1b┤\r") || !strings.Contains(out, "the job goes on") {
		t.Errorf("in a pipe: %q", out)
	}

	top := openConsole(t, t.TempDir(), apart(t), append([]string{"top"}, where...)...)
	top.expect("WORKER")
	top.expect("ready  ")
	top.expect("jobs: 1 training")
	top.expect("long  ")
	top.expect("WORKER") // the next look
	top.types(ctrlC)
	if code := top.code(); code != 0 {
		t.Errorf("top ends with exit code %d", code)
	}
	for line := range strings.Lines(top.plain()) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 {
			t.Errorf("top writes a line of %d columns at a terminal of 100: %q", n, line)
		}
	}
	if rec, err := s.Bus.Job(t.Context(), job); err != nil || rec.Job.GetState() != "training" {
		t.Errorf("the job that was watched is %v, %v", rec.Job.GetState(), err)
	}
	cancelled := Launch(t, Command{Name: "cancel", Env: apart(t), Args: append([]string{"jobs", "cancel", job}, where...)})
	if err := cancelled.Wait(t); err != nil {
		t.Errorf("cancel: %v: %s", err, cancelled.Output())
	}
}
