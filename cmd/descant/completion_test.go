package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"descant/pkg/bus"
	"descant/pkg/pb"
)

func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for shell, want := range map[string]string{
		"bash": "complete -o default -F __start_descant descant", "zsh": "#compdef descant", "fish": "complete -c descant", "powershell": "Register-ArgumentCompleter",
	} {
		code, out, problems := cli(t, nil, "completion", shell)
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("%s: code %d, %q is not in the script: %s", shell, code, want, problems)
		}
	}
	if code, _, problems := cli(t, nil, "completion", "tcsh"); code != exitUsage || !strings.Contains(problems, "tcsh") {
		t.Errorf("an unknown shell: code %d, %s", code, problems)
	}
}

// offers are what a shell is offered for a command line, without descriptions.
func offers(t *testing.T, line ...string) (names []string, directive string) {
	t.Helper()
	code, out, _ := cli(t, nil, append([]string{"__complete"}, line...)...)
	if code != exitOK {
		t.Fatalf("%q: code %d", line, code)
	}
	for text := range strings.Lines(out) {
		text = strings.TrimSpace(text)
		if strings.HasPrefix(text, ":") {
			directive = text
			continue
		}
		name, _, _ := strings.Cut(text, "\t")
		names = append(names, name)
	}
	return names, directive
}

func TestCompletionWithoutASystem(t *testing.T) {
	t.Parallel()
	nowhere := "nats://" + closed(t)
	if names, directive := offers(t, "jobs", "w"); !slices.Equal(names, []string{"watch"}) || directive != ":4" {
		t.Errorf("commands: %v %s", names, directive)
	}
	for _, line := range [][]string{{"jobs", "show", "--bus-url", nowhere, ""}, {"adapters", "show", "--bus-url", nowhere, ""}} {
		if names, directive := offers(t, line...); len(names) != 0 || directive != ":4" {
			t.Errorf("%v: %v %s", line, names, directive)
		}
	}
	for _, c := range []struct {
		line, want []string
		directive  string
	}{
		{[]string{"export", "gguf", "--outtype", ""}, []string{"auto", "f32", "f16", "bf16", "q8_0"}, ":4"},
		{[]string{"train", "--loss-on", ""}, []string{"full", "completion", "last_turn"}, ":4"},
		{[]string{"train", "--bus-url", nowhere, "--model", "builtin:"}, []string{"builtin:tiny"}, ":0"},
		{[]string{"finetune", "--bus-url", nowhere, "--dataset", ""}, nil, ":0"},
		{[]string{"chat", "--adapter-dir", ""}, nil, ":16"},
		{[]string{"up", "--device", ""}, []string{"auto", "xla", "cuda", "go"}, ":4"},
	} {
		if names, directive := offers(t, c.line...); !slices.Equal(names, c.want) || directive != c.directive {
			t.Errorf("%v: %v %s, want %v %s", c.line, names, directive, c.want, c.directive)
		}
	}
	// Where a folder can stand, files are offered all the same.
	if names, directive := offers(t, "merge", "--bus-url", nowhere, ""); len(names) != 0 || directive != ":0" {
		t.Errorf("merge: %v %s", names, directive)
	}
}

// TestCompletionOfNames is not parallel: see TestBadInputJob.
func TestCompletionOfNames(t *testing.T) {
	t.Chdir(".")
	s := startPipeline(t)
	view, err := submit(t.Context(), s.bus, []byte(`{"model":"`+badModel+`","dataset":"builtin:sample"}`), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"adapter_config.json": `{"r":1}`, "adapter_model.safetensors": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.registry.Publish(t.Context(), dir, &pb.AdapterManifest{Name: "poet", Base: badModel, BaseDigest: "sha256:0", CreatedAt: bus.Timestamp(time.Now())}); err != nil {
		t.Fatal(err)
	}
	if names, _ := offers(t, "jobs", "show", "--bus-url", s.cfg.Bus.URL, view.GetId()[:4]); !slices.Contains(names, view.GetId()) {
		t.Errorf("jobs %v, want %s", names, view.GetId())
	}
	if names, _ := offers(t, "adapters", "show", "--bus-url", s.cfg.Bus.URL, "po"); !slices.Equal(names, []string{"poet@1", "poet"}) {
		t.Errorf("adapters %v", names)
	}
	file := filepath.Join(t.TempDir(), "verses.jsonl")
	if err := os.WriteFile(file, []byte(`{"instruction":"a","output":"b"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.registry.PushDataset(t.Context(), "verses", file, "verses.jsonl", 1, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.registry.SetAlias(t.Context(), "poet", "staging", 1); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line, want []string
		directive  string
	}{
		{[]string{"finetune", "--dataset", "v"}, []string{"verses"}, ":0"}, {[]string{"finetune", "--dataset", "b"}, []string{"builtin:sample"}, ":0"},
		{[]string{"finetune", "--init-from", "poet@"}, []string{"poet@1"}, ":0"}, {[]string{"eval", "--adapter", "poet"}, []string{"poet@1", "poet"}, ":0"},
		{[]string{"chat", "--model", badModel}, []string{badModel}, ":0"}, {[]string{"adapters", "pin", "poet@"}, []string{"poet@1"}, ":4"},
		{[]string{"adapters", "rollback", "poet", "--alias", ""}, []string{"prod", "staging"}, ":4"},
	} {
		line := append([]string{c.line[0], "--bus-url", s.cfg.Bus.URL}, c.line[1:]...)
		if c.line[0] == "adapters" {
			line = append([]string{c.line[0], c.line[1], "--bus-url", s.cfg.Bus.URL}, c.line[2:]...)
		}
		if names, directive := offers(t, line...); !slices.Equal(names, c.want) || directive != c.directive {
			t.Errorf("%v: %v %s, want %v %s", line, names, directive, c.want, c.directive)
		}
	}
	if names, _ := offers(t, "adapters", "show", "--bus-url", s.cfg.Bus.URL, "q"); len(names) != 0 {
		t.Errorf("adapters that begin with q: %v", names)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want int
		args []string
	}{
		{0, []string{"version"}}, {1, []string{"jobs", "list", "--bus-url", "nats://" + closed(t)}}, {2, []string{"version", "--no-such-flag"}},
	} {
		if code, _, problems := cli(t, nil, c.args...); code != c.want {
			t.Errorf("%v: code %d, want %d: %s", c.args, code, c.want, problems)
		}
	}
	a := &app{streams: streams{out: t.Output(), err: t.Output()}}
	for _, c := range []struct {
		want int
		err  error
	}{{0, nil}, {1, errors.New("x")}, {130, context.Canceled}, {130, interrupted("x")}} {
		if code := a.fail(c.err); code != c.want {
			t.Errorf("%v: code %d, want %d", c.err, code, c.want)
		}
	}
	if _, help, _ := cli(t, nil, "--help"); !strings.Contains(help, exitCodes) {
		t.Errorf("the help does not tell the exit codes: %s", help)
	}
}

func TestNoColour(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		environ []string
		want    bool
	}{{nil, true}, {[]string{"TERM=xterm"}, true}, {[]string{"NO_COLOR="}, true}, {[]string{"NO_COLOR=1"}, false}, {[]string{"TERM=dumb"}, false}} {
		if got := wantsColour(c.environ); got != c.want {
			t.Errorf("%v: %v", c.environ, got)
		}
	}
	if (&app{}).colourful(new(strings.Builder)) {
		t.Error("what is no terminal gets colours")
	}
}
