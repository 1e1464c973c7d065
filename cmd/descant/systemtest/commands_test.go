package systemtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"descant/pkg/safetensors"
)

// result is what a command line left behind.
type result struct {
	code        int
	out, errors string
}

// printed keeps what a command prints, each piece of which puts off the end of the test's patience.
type printed struct {
	bytes.Buffer
	silence *time.Timer
}

func (p *printed) Write(piece []byte) (int, error) {
	p.silence.Reset(2 * Late)
	return p.Buffer.Write(piece)
}

// descant runs one command line to its end, and kills it when it prints nothing for long.
func descant(t *testing.T, env []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	silence := time.AfterFunc(2*Late, cancel)
	defer silence.Stop()
	cmd := exec.CommandContext(ctx, Binary(t), args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(Environment(), env...)
	out, problems := printed{silence: silence}, printed{silence: silence}
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), problems.String()}
}

// ok runs a command line that must succeed.
func ok(t *testing.T, env []string, args ...string) result {
	t.Helper()
	r := descant(t, env, args...)
	if r.code != 0 {
		t.Fatalf("descant %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.errors)
	}
	return r
}

// small is the environment of a command that computes without waiting for compilers.
func small(t *testing.T) []string {
	t.Helper()
	return []string{"DESCANT_DEVICE=go", "DESCANT_HUB_WORK_DIR=" + t.TempDir(), "DESCANT_HUB_CACHE_DIR=" + t.TempDir()}
}

func TestTrainThenChat(t *testing.T) {
	t.Parallel()
	env, base, out := small(t), filepath.Join(t.TempDir(), "base"), filepath.Join(t.TempDir(), "out")
	TinyBase(t, base)
	rows := filepath.Join(t.TempDir(), "rows.jsonl")
	if err := os.WriteFile(rows, []byte(strings.Repeat(`{"instruction":"你好","output":"hello"}`+"\n", 8)), 0o644); err != nil {
		t.Fatal(err)
	}
	trained := ok(t, env, "train", "--model_name_or_path", base, "--dataset_path", rows, "--output_dir", out, "--max_steps", "2", "--json")
	var steps int
	var last map[string]any
	for line := range strings.Lines(trained.out) {
		last = nil
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%q on stdout is not JSON: %v", line, err)
		}
		if last["type"] == "step" {
			steps++
		}
	}
	if steps != 2 || last["type"] != "result" || last["output_dir"] != out {
		t.Errorf("%d steps, last line %v", steps, last)
	}
	f, err := safetensors.Open(filepath.Join(out, "adapter_model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(f.Names()); n != 2*7*2 { // layers, projections, A and B
		t.Errorf("the adapter has %d tensors", n)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(out, ".descant")); err == nil {
		t.Error("the state of the training was left behind")
	}

	// The base is the one that the adapter names.
	said := ok(t, env, "chat", "--adapter_dir", out, "--prompt", "你好", "--max-tokens", "4", "--temperature", "0", "--json")
	var answer struct {
		Base   string `json:"base"`
		Tokens int    `json:"completion_tokens"`
		Finish string `json:"finish_reason"`
	}
	if err := json.Unmarshal([]byte(said.out), &answer); err != nil {
		t.Fatalf("%q: %v", said.out, err)
	}
	if answer.Base != base || answer.Tokens < 1 || answer.Finish == "" {
		t.Errorf("answer %+v", answer)
	}

	schema := filepath.Join(t.TempDir(), "schema.json")
	if err := os.WriteFile(schema, []byte(`{"enum":["yes","no END"]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	said = ok(t, env, "chat", "--adapter_dir", out, "--prompt", "你好", "--json-schema", schema, "--stop", " END", "--temperature", "1", "--top-k", "50", "--min-p", "0.01", "--seed", "3")
	if text := strings.TrimSpace(said.out); text != `"yes"` && text != `"no` {
		t.Errorf("%q does not follow the schema up to the stop text", text)
	}
}

func TestInterruptedTrainGoesOn(t *testing.T) {
	t.Parallel()
	env, base, out := small(t), filepath.Join(t.TempDir(), "base"), filepath.Join(t.TempDir(), "out")
	TinyBase(t, base)
	args := []string{"train", "--model", base, "--max-steps", "5000", "--output-dir", out}
	interrupt := func(after string) string {
		p := Launch(t, Command{Name: "descant train", Args: args, Env: env})
		waitFor(t, p, after)
		if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		var exit *exec.ExitError
		if err := p.Wait(t); !errors.As(err, &exit) || exit.ExitCode() != 130 {
			t.Fatalf("the process ended with %v, want 130:\n%s", err, p.Output())
		}
		return p.Output()
	}
	first := interrupt("step 2/5000")
	if !strings.Contains(first, "a checkpoint is saved") || !strings.Contains(first, "run the same command again") {
		t.Errorf("it does not say how to go on:\n%s", first)
	}
	second := interrupt("training goes on after step")
	if !strings.Contains(second, "going on after step") || strings.Contains(second, "step 1/5000") {
		t.Errorf("it began anew:\n%s", second)
	}
}

// waitFor waits until a process prints a text.
func waitFor(t *testing.T, p *Process, text string) {
	t.Helper()
	deadline := time.After(Late)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(p.Output(), text) {
		select {
		case <-p.done:
			t.Fatalf("%s ended without %q:\n%s", p.name, text, p.Output())
		case <-deadline:
			t.Fatalf("%s does not print %q:\n%s", p.name, text, p.Output())
		case <-tick.C:
		}
	}
}

func TestCommandsBesideARunningSystem(t *testing.T) {
	t.Parallel()
	s := OneProcess(t)
	env := s.Env()
	rows := filepath.Join(t.TempDir(), "My Rows.jsonl")
	if err := os.WriteFile(rows, []byte(strings.Repeat(`{"instruction":"hi","output":"hello"}`+"\n", 6)), 0o644); err != nil {
		t.Fatal(err)
	}
	ok(t, env, "datasets", "push", rows)
	if list := ok(t, env, "datasets", "list").out; !strings.Contains(list, "my-rows") {
		t.Errorf("datasets list:\n%s", list)
	}
	id := strings.TrimSpace(ok(t, env, "finetune", "--model", s.Base, "--dataset", "my-rows", "--name", "mine", "--max-steps", "2", "--detach").out)
	watched := ok(t, env, "jobs", "watch", id)
	for _, want := range []string{"step 2/2", "succeeded"} {
		if !strings.Contains(watched.errors, want) {
			t.Errorf("jobs watch lacks %q:\n%s", want, watched.errors)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"jobs", "list"}, "succeeded"},
		{[]string{"jobs", "show", id[:8]}, "mine@1"},
		{[]string{"jobs", "list", "--json"}, `"name":"mine"`},
		{[]string{"adapters", "list"}, "mine"},
		{[]string{"adapters", "show", "mine@1"}, "adapter_model.safetensors"},
		{[]string{"adapters", "promote", "mine@1"}, "mine@prod=1"},
		{[]string{"adapters", "list"}, "latest=1 prod=1"},
		{[]string{"adapters", "pin", "mine@prod"}, "mine@prod is pinned"},
		{[]string{"adapters", "list"}, "latest=1 prod=1  prod "},
		{[]string{"adapters", "unpin", "mine@prod"}, "mine@prod is not pinned"},
		{[]string{"finetune", "--model", s.Base, "--dataset", "my-rows", "--name", "mine", "--max-steps", "2"}, "mine@1 is published"},
	} {
		if out := ok(t, env, c.args...).out; !strings.Contains(strings.ReplaceAll(out, `": "`, `":"`), c.want) {
			t.Errorf("%v lacks %q:\n%s", c.args, c.want, out)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"jobs", "show", "ft-nothing"}, "there is no job"},
		{[]string{"adapters", "show", "nobody"}, "nobody"},
		{[]string{"adapters", "promote", "mine@2", "--weight", "10%"}, "has no version 2"},
		{[]string{"adapters", "pin", "mine@2"}, "has no version 2"},
		{[]string{"adapters", "rollback", "mine"}, "has stood for nothing else before"},
		{[]string{"finetune", "--model", s.Base, "--dataset", "absent"}, "absent"},
		{[]string{"jobs", "cancel", id}, "succeeded"},
	} {
		if r := descant(t, env, c.args...); r.code != 1 || !strings.Contains(r.errors, c.want) {
			t.Errorf("%v: exit code %d, lacks %q:\n%s", c.args, r.code, c.want, r.errors)
		}
	}
}
