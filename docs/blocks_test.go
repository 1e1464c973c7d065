package docs_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// block is a fenced block of a page.
type block struct {
	page, language, text string
	line                 int // of the fence, from 1
}

var (
	fence    = regexp.MustCompile("^ *```(.*)$")
	indented = regexp.MustCompile(`^ {4,}\S`)
)

// pages are the two READMEs and the manual.
func pages(t *testing.T) []string {
	t.Helper()
	found := []string{"README.md", "README.zh-CN.md"}
	more, err := filepath.Glob("*.md")
	if err != nil || len(more) < 10 {
		t.Fatalf("pages %v: %v", more, err)
	}
	for _, page := range more {
		found = append(found, "docs/"+page)
	}
	return found
}

// blocks are the fenced blocks of a page. Every one says its language, and nothing is set as code by indenting it, so
// that no command can hide.
func blocks(t *testing.T, page string) (all []block) {
	t.Helper()
	var open *block
	before := ""
	for i, line := range strings.Split(read(t, page), "\n") {
		mark := fence.FindStringSubmatch(line)
		switch {
		case mark != nil && open == nil:
			open = &block{page: page, language: mark[1], line: i + 1}
			if !slices.Contains([]string{"sh", "python", "js", "go", "json", "jsonl", "yaml", "text"}, open.language) {
				t.Errorf("%s:%d: a block of the language %q; use sh for commands, text for what is only shown", page, i+1, open.language)
			}
		case mark != nil:
			all, open = append(all, *open), nil
		case open != nil:
			open.text += line + "\n"
		case before == "" && indented.MatchString(line):
			t.Errorf("%s:%d: an indented block: put it between fences", page, i+1)
		}
		before = line
	}
	if open != nil {
		t.Errorf("%s:%d: the block has no end", page, open.line)
	}
	return all
}

// prose is a page without its blocks.
func prose(t *testing.T, page string) string {
	t.Helper()
	var b strings.Builder
	inside := false
	for line := range strings.Lines(read(t, page)) {
		if fence.MatchString(strings.TrimRight(line, "\n")) {
			inside = !inside
		} else if !inside {
			b.WriteString(line)
		}
	}
	return b.String()
}

// commands are the commands of a block of the shell, each with the lines that it goes on in.
func commands(t *testing.T, b block) (all []string) {
	t.Helper()
	begun := ""
	for line := range strings.Lines(b.text) {
		begun += line
		text := strings.TrimSpace(begun)
		switch {
		case text == "" || strings.HasPrefix(text, "#"):
			begun = ""
		case strings.HasSuffix(text, `\`):
		case exec.CommandContext(t.Context(), "bash", "-n", "-c", begun).Run() == nil:
			all = append(all, text)
			begun = ""
		}
	}
	if strings.TrimSpace(begun) != "" {
		t.Errorf("%s:%d: the shell does not understand %q", b.page, b.line, begun)
	}
	return all
}
