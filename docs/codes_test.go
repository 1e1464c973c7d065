// Package docs_test holds the manual against the program: codes of errors, the two READMEs, links, and every command.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// read returns the text of a file by its path from the top of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// codesOf are the values of the constants Code… of a file.
func codesOf(t *testing.T, path string) (codes []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, read(t, path), 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Code") {
			return true
		}
		if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
			codes = append(codes, unquote(t, literal))
		}
		return true
	})
	return codes
}

func unquote(t *testing.T, literal *ast.BasicLit) string {
	t.Helper()
	text, err := strconv.Unquote(literal.Value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// section is the text of a page below a heading, up to the next one of its level.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(page, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("there is no section %q", heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

var codeRow = regexp.MustCompile("(?m)^\\| `([a-z0-9_]+)` \\|([^|]*)\\|([^|]*)\\|([^|]*)\\|$")

// TestEveryCodeIsExplained reads the codes from the source: none may be missing from docs/troubleshooting.md, and none
// may stand there that does not exist.
func TestEveryCodeIsExplained(t *testing.T) {
	t.Parallel()
	page := read(t, "docs/troubleshooting.md")
	ofJobs := codesOf(t, "pkg/job/errors.go")
	for heading, want := range map[string][]string{
		"Codes of jobs and answers": ofJobs,
		"Codes of the HTTP API alone": slices.DeleteFunc(codesOf(t, "pkg/openai/error.go"), func(code string) bool {
			return slices.Contains(ofJobs, code)
		}),
		"Codes of problems in rows": codesOf(t, "pkg/dataset/problem.go"),
	} {
		if len(want) < 10 {
			t.Fatalf("%s: only %v found in the source", heading, want)
		}
		var explained []string
		for _, row := range codeRow.FindAllStringSubmatch(section(t, page, heading), -1) {
			explained = append(explained, row[1])
			if strings.TrimSpace(row[2]) == "" || strings.TrimSpace(row[4]) == "" {
				t.Errorf("%s: %s lacks its meaning or what to do", heading, row[1])
			}
		}
		slices.Sort(explained)
		slices.Sort(want)
		if !slices.Equal(explained, want) {
			t.Errorf("%s: the page has %q, the source %q", heading, explained, want)
		}
	}
	classes := regexp.MustCompile("(?m)^\\| `([a-z]+)` \\|").FindAllStringSubmatch(section(t, page, "Whose error it is"), -1)
	if len(classes) != 3 {
		t.Errorf("classes: %q", classes)
	}
	for _, class := range classes {
		if !strings.Contains(read(t, "pkg/job/errors.go"), `Class = "`+class[1]+`"`) {
			t.Errorf("there is no class %q", class[1])
		}
	}
}

// codeArguments say which argument of a function is the code of an error.
var codeArguments = map[string]int{"Invalid": 1, "NotFound": 1, "newError": 3, "Problem": 1, "UserError": 0, "InfrastructureError": 0, "RefusedError": 0, "userProblem": 0}

// TestCodesAreConstants finds codes that are written where they are used, which the test above would not see.
func TestCodesAreConstants(t *testing.T) {
	t.Parallel()
	seen := 0
	source(t, func(path string, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := ""
			switch f := call.Fun.(type) {
			case *ast.Ident:
				name = f.Name
			case *ast.SelectorExpr:
				name = f.Sel.Name
			}
			at, ok := codeArguments[name]
			if !ok || at >= len(call.Args) {
				return true
			}
			seen++
			if literal, ok := call.Args[at].(*ast.BasicLit); ok && literal.Value != `""` {
				t.Errorf("%s: the code %s of %s is no constant", path, literal.Value, name)
			}
			return true
		})
	})
	if seen < 100 {
		t.Errorf("only %d calls were seen", seen)
	}
}

// source visits the Go files of the program without tests.
func source(t *testing.T, visit func(path string, file *ast.File)) {
	t.Helper()
	for _, top := range []string{"pkg", "services", "cmd"} {
		err := filepath.WalkDir(filepath.Join("..", top), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".pb.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
			if err == nil {
				visit(path, file)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
