package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	setting   = regexp.MustCompile(`^(log|http|bus|blob|hub|embedded|gateway|tokenizer|trainer|inference)\.[a-z_0-9]+$`)
	described = regexp.MustCompile("(?m)^\\| `([a-z_0-9.]+)` \\|")
	variable  = regexp.MustCompile(`^DESCANT_[A-Z0-9_]+$`)
	testName  = regexp.MustCompile(`^Test[A-Z]\w+$`)
	testFunc  = regexp.MustCompile(`(?m)^func (Test[A-Z]\w+)\(`)
	inside    = regexp.MustCompile(`^(pkg|services|cmd|scripts|deploy|proto|models|testdata|docs)/[\w./-]+$`)
)

// TestNames looks for what pages name in code: settings among those of the program (and values of the chart), variables by
// which a setting is given or that the sources read, tests, and files of the repository.
func TestNames(t *testing.T) {
	t.Parallel()
	var settings []string
	for _, found := range described.FindAllStringSubmatch(read(t, "docs/configuration.md"), -1) {
		settings = append(settings, found[1])
	}
	tests, sources := repository(t)
	seen := map[string]int{}
	for _, page := range pages(t) {
		for _, found := range span.FindAllStringSubmatch(prose(t, page), -1) {
			name := found[1]
			switch {
			case setting.MatchString(name) && !strings.HasSuffix(name, ".json"): // tokenizer.json is a file
				seen["setting"]++
				if !slices.Contains(settings, strings.TrimSuffix(name, "_file")) && name != "inference.chat" && !chartValue(t, name) {
					t.Errorf("%s: there is no setting %s", page, name)
				}
			case variable.MatchString(name):
				seen["variable"]++
				if !slices.ContainsFunc(settings, func(s string) bool {
					of := "DESCANT_" + strings.ToUpper(strings.ReplaceAll(s, ".", "_"))
					return name == of || name == of+"_FILE"
				}) && !strings.Contains(sources, `"`+name+`"`) {
					t.Errorf("%s: no setting is given by %s", page, name)
				}
			case testName.MatchString(name):
				seen["test"]++
				if !slices.Contains(tests, name) {
					t.Errorf("%s: there is no test %s", page, name)
				}
			case inside.MatchString(name):
				seen["file"]++
				if _, err := os.Stat(filepath.Join("..", name)); err != nil && !strings.HasPrefix(name, "deploy/secrets/") { // made by scripts/secrets
					t.Errorf("%s: there is no %s", page, name)
				}
			}
		}
	}
	for what, least := range map[string]int{"setting": 60, "variable": 8, "test": 10, "file": 60} {
		if seen[what] < least {
			t.Errorf("only %d names of the kind %s were found in the pages", seen[what], what)
		}
	}
}

// chartValue tells whether the Helm chart has a value, such as trainer.replicas.
func chartValue(t *testing.T, name string) bool {
	t.Helper()
	top, key, _ := strings.Cut(name, ".")
	_, values, _ := strings.Cut("\n"+read(t, "deploy/helm/descant/values.yaml"), "\n"+top+":\n")
	for line := range strings.Lines(values) {
		if !strings.HasPrefix(line, " ") {
			return false
		}
		if strings.HasPrefix(line, "  "+key+":") {
			return true
		}
	}
	return false
}

// repository returns the names of all tests, and the text of all Go files.
func repository(t *testing.T) (tests []string, sources string) {
	t.Helper()
	var all strings.Builder
	for _, top := range []string{"pkg", "services", "cmd", "scripts", "models", "docs"} {
		err := filepath.WalkDir(filepath.Join("..", top), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") {
				return err
			}
			text, err := os.ReadFile(path)
			all.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, found := range testFunc.FindAllStringSubmatch(all.String(), -1) {
		tests = append(tests, found[1])
	}
	return tests, all.String()
}
