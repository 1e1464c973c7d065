package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"descant/pkg/embedded/servertest"
)

// smaller are the replacements that need nothing of the running system.
var smaller = []replacement{
	{regexp.MustCompile(`(--max-steps|--max_steps|"max_steps": ?) ?\d+`), "$1 2"},
	{regexp.MustCompile(`max_steps: \d+`), "max_steps: 2"},
	{regexp.MustCompile(`"n_epochs": \d+`), `"n_epochs": 2`},
	{regexp.MustCompile(`num_decay_steps=20`), "num_decay_steps=1"},
	{regexp.MustCompile(`--max-tokens \d+`), "--max-tokens 8"},
	{regexp.MustCompile(`(0\.0\.0\.0|127\.0\.0\.1):800[01]\b`), "$1:0"},
	{regexp.MustCompile(`suffix: "support" \}`), `suffix: "support", max_steps: 2 }`},
	{regexp.MustCompile(`"suffix":"support"`), `"suffix":"support","max_steps":2`},
}

// untilSaid are commands that go on until somebody stops them, with what they print when they are at work.
var untilSaid = []struct{ command, said *regexp.Regexp }{
	{regexp.MustCompile(`descant up\b`), regexp.MustCompile(`descant is up`)},
	{regexp.MustCompile(`descant inference\b`), regexp.MustCompile(`worker is ready`)},
	{regexp.MustCompile(`^descant top$`), regexp.MustCompile(`WORKER`)},
	{regexp.MustCompile(`^nats sub `), regexp.MustCompile(`Subscribing`)},
}

// TestCommands runs every command of the manual, each page in a folder of its own.
func TestCommands(t *testing.T) {
	m := newManual(t)
	for _, page := range pages(t) {
		t.Run(page, func(t *testing.T) {
			dir := ""
			for _, b := range blocks(t, page) {
				if dir == "" {
					dir = m.dir(t)
				}
				switch b.language {
				case "sh":
					for _, command := range commands(t, b) {
						m.run(t, dir, b, command)
					}
				case "python", "js":
					m.snippet(t, dir, b)
				}
			}
			m.spans(t, page)
		})
	}
	m.messages(t)
	m.metrics(t)
	for _, other := range elsewhere {
		if !m.met[other.reason] {
			t.Errorf("no page has a command %s: take the line out of the table", other.command)
		}
	}
}

// run runs a command, or checks it as the table says.
func (m *manual) run(t *testing.T, dir string, b block, command string) {
	t.Helper()
	for _, other := range elsewhere {
		if other.command.MatchString(command) {
			t.Logf("not run, as it %s: %s", other.reason, command)
			m.met[other.reason] = true
			other.check(t, m, command)
			return
		}
	}
	text := m.concrete(command)
	if m.done[text] && strings.Contains(b.page, ".zh-CN.") {
		return // the same as in its twin
	}
	m.prepare(t, command)
	text = m.concrete(command)
	var said *regexp.Regexp
	var env []string
	for _, one := range untilSaid {
		if !one.command.MatchString(text) {
			continue
		}
		said = one.said
		// Ports and data of another system are its own.
		env = []string{"DESCANT_EMBEDDED_NATS_ADDR=127.0.0.1:0", "DESCANT_EMBEDDED_S3_ADDR=127.0.0.1:0", "DESCANT_GATEWAY_ADDR=127.0.0.1:0"}
		if strings.Contains(text, "descant up") {
			env = append(env, "DESCANT_EMBEDDED_DIR="+t.TempDir())
		}
	}
	began := time.Now()
	out, err := m.shell(t, dir, text, said, env...)
	t.Logf("%.1fs %s", time.Since(began).Seconds(), text)
	if err != nil {
		t.Errorf("%s:%d: %s: %v\n%s", b.page, b.line, text, err, out)
	}
	m.done[text] = true
}

// prepare makes what a command needs that is not there for long: a job in training, an empty server.
func (m *manual) prepare(t *testing.T, command string) {
	t.Helper()
	switch {
	case strings.HasPrefix(command, "nats stream restore ") && m.concrete(command) == command:
		empty := replacement{regexp.MustCompile(`nats://new-nats:4222`), servertest.StartNATS(t).URL}
		m.replace = append([]replacement{empty}, m.replace...)
	case strings.HasPrefix(command, "descant jobs pause "):
		m.train(t)
	}
}

// train has a job in training until the page ends, and puts it in the place of the placeholder.
func (m *manual) train(t *testing.T) {
	t.Helper()
	long := m.id(t, "descant finetune --model builtin:tiny --dataset my --name long --max-steps 1000000 --detach --json")
	m.must(t, `until descant jobs show `+long+` --json | grep -Eq '"state": ?"training"'; do :; done`)
	before := m.replace
	m.replace = append([]replacement{{regexp.MustCompile(`ft-1a2b3c`), long}}, before...)
	t.Cleanup(func() {
		m.replace = before
		m.must(t, "descant jobs cancel "+long)
	})
}

var (
	remark    = regexp.MustCompile(`(?m)\s+# [^'"]*$`)
	training  = regexp.MustCompile(`\bdescant +(train|finetune|estimate)\b`)
	requested = regexp.MustCompile(`(nats pub finetune\.request '\{)`)
	hasLength = regexp.MustCompile(`max[-_]steps|num[-_]train[-_]epochs`)
)

// concrete puts what exists in the place of placeholders, and has no training take more than a few steps.
func (m *manual) concrete(command string) string {
	command = remark.ReplaceAllString(command, "")
	if !hasLength.MatchString(command) {
		command = training.ReplaceAllString(command, "descant $1 --max-steps 2")
		command = requested.ReplaceAllString(command, `$1"max_steps":2,`)
	}
	for _, r := range m.replace {
		command = r.from.ReplaceAllString(command, r.to)
	}
	return command
}

// snippet runs a block of Python or JavaScript.
func (m *manual) snippet(t *testing.T, dir string, b block) {
	t.Helper()
	name, program := "snippet.py", "python"
	if b.language == "js" {
		name, program = "snippet.mjs", "node"
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(m.concrete(b.text)), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if out, err := m.shell(t, dir, program+" "+name, nil); err != nil {
		t.Errorf("%s:%d: %v\n%s", b.page, b.line, err, out)
	}
	t.Logf("%.1fs %s", time.Since(began).Seconds(), name)
}
