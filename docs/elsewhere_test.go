package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// elsewhere are commands of the manual that TestCommands does not run, each with the reason and with what is checked
// in place of it. A command that is in no line of this table runs.
var elsewhere = []struct {
	command *regexp.Regexp
	reason  string
	check   func(t *testing.T, m *manual, command string)
}{
	{regexp.MustCompile(`^make (demo|test|e2e|soak|bench\S*|tiny-base|check-gguf|lint)\b`), "takes minutes to hours, or is what runs this test", targetExists},
	{regexp.MustCompile(`^make `), "changes the checkout or the cache, which belong to the whole test run", targetExists},
	{regexp.MustCompile(`^(\S+=\S+ )*go (run|test) `), "measures or makes something for minutes; the program is built and vetted with the others", programExists},
	{regexp.MustCompile(`^scripts/(secrets|parity/run)\b( [A-Z]+)?$`), "writes into the checkout", programExists},
	{regexp.MustCompile(`^python scripts/`), "wants Python packages of its own", programExists},
	{regexp.MustCompile(`^USE_MODELSCOPE_HUB=1 descant `), "wants ModelScope; the tests of package hub speak its protocol to a server of their own", flagsParse},
	{regexp.MustCompile(`^(scripts/secrets && )?docker (compose|build) `), "wants a Docker engine; TestCompose of systemtest runs what is in the file", nothing},
	{regexp.MustCompile(`^(kubectl|helm) `), "wants a cluster; a test of cmd/descant renders the chart", nothing},
	{regexp.MustCompile(`^(llama-cli|ollama) `), "wants a program that is not descant's; make check-gguf loads the files in llama.cpp", nothing},
	{regexp.MustCompile(`^tensorboard `), "wants TensorBoard; a test of package report reads the event files", nothing},
	{regexp.MustCompile(`^descant completion fish \|`), "is for the shell fish; TestCompletionScripts looks at its script", flagsParse},
	{regexp.MustCompile(`^source <\(descant completion zsh`), "is for the shell zsh; TestCompletionScripts looks at its script", nothing},
}

func nothing(*testing.T, *manual, string) {}

var target = regexp.MustCompile(`\bmake ([a-z0-9-]+)`)

// targetExists looks for the targets of a command in the Makefile.
func targetExists(t *testing.T, m *manual, command string) {
	for _, name := range target.FindAllStringSubmatch(command, -1) {
		if !strings.Contains(m.makefile, "\n"+name[1]+":") {
			t.Errorf("%s: the Makefile has no target %s", command, name[1])
		}
	}
	for part := range strings.SplitSeq(command, "&&") {
		if part = strings.TrimSpace(part); strings.HasPrefix(part, "go run ") {
			programExists(t, m, part)
		}
	}
}

var (
	programPath = regexp.MustCompile(`(?:\./)?((?:scripts|pkg|services|cmd)/[\w./-]+)`)
	longFlag    = regexp.MustCompile(`(?:^| )--?([a-z][a-z-]+)\b`)
)

// programExists looks for the program of a command, and in its source for the flags.
func programExists(t *testing.T, _ *manual, command string) {
	found := programPath.FindStringSubmatch(command)
	if found == nil {
		t.Errorf("%s: names no program of the repository", command)
		return
	}
	path := filepath.Join("..", strings.TrimSuffix(found[1], "/..."))
	info, err := os.Stat(path)
	switch {
	case err != nil:
		t.Errorf("%s: %v", command, err)
		return
	case !info.IsDir():
		if info.Mode()&0o100 == 0 && !strings.HasPrefix(command, "python ") {
			t.Errorf("%s: %s cannot be executed", command, found[1])
		}
		return
	case strings.Contains(command, "go test "):
		return
	}
	sources, err := filepath.Glob(filepath.Join(path, "*.go"))
	if err != nil || len(sources) == 0 {
		t.Errorf("%s: %s holds no program: %v", command, found[1], err)
	}
	var all strings.Builder
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	own, _, _ := strings.Cut(command, " -- ")
	for _, name := range longFlag.FindAllStringSubmatch(own, -1) {
		if !strings.Contains(all.String(), `"`+name[1]+`"`) {
			t.Errorf("%s: %s has no flag %s", command, found[1], name[1])
		}
	}
}

var parts = regexp.MustCompile(`&&|\|`)

// flagsParse has the program read the command line, without doing what it says.
func flagsParse(t *testing.T, m *manual, command string) {
	for _, part := range parts.Split(command, -1) {
		_, line, found := strings.Cut(strings.TrimSpace(part), "descant ")
		if !found {
			continue
		}
		m.known(t, command, strings.Fields(line))
		if out, err := m.shell(t, m.root, "descant "+line+" --help", nil); err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
}
