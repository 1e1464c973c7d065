package docs_test

import (
	"go/ast"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	span   = regexp.MustCompile("`([^`]+)`")
	named  = regexp.MustCompile("`descant ([^`]+)")
	listed = regexp.MustCompile(`(?m)^  ([a-z]+) +\S`)
)

// tree lists the commands of the program by their path, by the help of each group.
func (m *manual) tree(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	var visit func(path string)
	visit = func(path string) {
		out, err := m.shell(t, m.root, "descant "+path+" --help", nil)
		if err != nil {
			t.Fatalf("descant %s --help: %v\n%s", path, err, out)
		}
		_, rest, group := strings.Cut(out, "\nCommands:\n")
		all[path] = group
		rest, _, _ = strings.Cut(rest, "\n\n")
		for _, name := range listed.FindAllStringSubmatch(rest, -1) {
			if group {
				visit(strings.TrimSpace(path + " " + name[1]))
			}
		}
	}
	visit("")
	if len(all) < 30 {
		t.Fatalf("only %d commands: %v", len(all), all)
	}
	return all
}

// known checks that words begin with a command of the program.
func (m *manual) known(t *testing.T, where string, words []string) {
	t.Helper()
	path := ""
	for _, word := range words {
		if !m.commands[path] || strings.HasPrefix(word, "-") || word == strings.ToUpper(word) {
			return // the rest are its arguments, or it stands for any command
		}
		path = strings.TrimSpace(path + " " + word)
		if _, there := m.commands[path]; !there {
			t.Errorf("%s: there is no command descant %s", where, path)
			return
		}
	}
}

// spans checks the commands that stand in the text of a page.
func (m *manual) spans(t *testing.T, page string) {
	t.Helper()
	for _, found := range span.FindAllStringSubmatch(prose(t, page), -1) {
		text := found[1]
		if line, ours := strings.CutPrefix(text, "descant "); ours && !strings.Contains(line, "…") {
			m.known(t, page, strings.Fields(line))
			if strings.Contains(line, " --") {
				if out, err := m.shell(t, m.root, "descant "+strings.ReplaceAll(line, "|", " ")+" --help", nil); err != nil {
					t.Errorf("%s: %s: %v\n%s", page, text, err, out)
				}
			}
		}
		if strings.HasPrefix(text, "make ") {
			targetExists(t, m, text)
		}
	}
}

// messages checks the commands that the program's own texts name.
func (m *manual) messages(t *testing.T) {
	t.Helper()
	seen := 0
	source(t, func(path string, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				return true // a number
			}
			for _, found := range named.FindAllStringSubmatch(text, -1) {
				seen++
				m.known(t, path, strings.Fields(found[1]))
			}
			return true
		})
	})
	if seen < 20 {
		t.Errorf("only %d commands were found in the texts of the program", seen)
	}
}
