package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestTalkCompletion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, folder := range []string{"out", "poems/inner", ".hidden"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "said.jsonl"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := &talkCompleter{
		talk:      &talk{cwd: dir, adapters: map[string]string{"out": "x@1"}},
		published: func() []cobra.Completion { return []cobra.Completion{"poet@1\tbuiltin:tiny", "poet\tnewest version"} },
	}
	for typed, want := range map[string][]string{
		"hello /ad":             nil,
		"/ad":                   {"apter "},
		"/":                     {"adapter ", "compare ", "system ", "reset", "save ", "help", "quit"},
		"/adapter ":             {"base", "out", "out/", "poems/", "poet", "poet@1"},
		"/adapter poe":          {"ms/", "t", "t@1"},
		"/adapter poet ":        nil,
		"/adapter .h":           {"idden/"},
		"/adapter poems/":       {"inner/"},
		"/adapter nowhere/":     nil,
		"/compare poet@1 o":     {"ut", "ut/"},
		"/save s":               {"aid.jsonl"},
		"/system o":             nil,
		"/adapter " + dir + "/": {"out/", "poems/"},
	} {
		line := []rune(typed + "rest")
		rests, length := c.Do(line, len(line)-len("rest"))
		var got []string
		for _, rest := range rests {
			got = append(got, string(rest))
		}
		begun := typed[strings.LastIndexByte(typed, ' ')+1:]
		if !slices.Equal(got, want) || len(want) > 0 && length != len(begun) {
			t.Errorf("%q: %q of length %d, want %q of length %d", typed, got, length, want, len(begun))
		}
	}
}

func TestTalkHelpNamesEveryCommand(t *testing.T) {
	t.Parallel()
	for _, c := range talkCommands() {
		if !strings.Contains(talkHelp(), c.name+" ") {
			t.Errorf("%s is not in the help", c.name)
		}
	}
	known := map[string]bool{}
	for _, c := range talkCommands() {
		known[c.name] = true
	}
	for alias, name := range talkAliases {
		if !known[name] || known[alias] {
			t.Errorf("%s stands for %s", alias, name)
		}
	}
}
