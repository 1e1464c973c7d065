package systemtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// control matches what moves the cursor or changes colours on a terminal, and the beginning of such at the end.
var control = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\r|\x07|\x1b[^A-Za-z]*$`)

// colours matches a change of colour or of weight.
var colours = regexp.MustCompile(`\x1b\[[0-9;]*[1-9][0-9;]*m`)

// console is a program at a pseudo terminal, as a person has it.
type console struct {
	t       *testing.T
	file    *os.File
	process *exec.Cmd
	done    chan struct{}

	mu   sync.Mutex
	raw  strings.Builder
	seen int // how much of the plain text was expected
}

// openConsole starts descant at a terminal of 100 columns, in a folder.
func openConsole(t *testing.T, dir string, environ []string, args ...string) *console {
	t.Helper()
	// It ends by what is typed, or is killed below.
	process := exec.CommandContext(context.WithoutCancel(t.Context()), Binary(t), args...)
	process.Dir, process.Env = dir, append(append(Environment(), "TERM=xterm-256color"), environ...)
	file, err := pty.StartWithSize(process, &pty.Winsize{Rows: 40, Cols: 100})
	if err != nil {
		t.Fatal(err)
	}
	c := &console{t: t, file: file, process: process, done: make(chan struct{})}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buffer := make([]byte, 4096)
		for {
			n, err := file.Read(buffer)
			c.mu.Lock()
			c.raw.Write(buffer[:n])
			c.mu.Unlock()
			if err != nil { // the program has left its terminal
				return
			}
		}
	}()
	go func() {
		_ = process.Wait() // code tells how it ended
		<-read
		close(c.done)
	}()
	t.Cleanup(func() {
		_ = process.Process.Kill() // it may have ended
		<-c.done
		file.Close()
		if t.Failed() {
			t.Logf("the terminal of descant %s:\n%s", strings.Join(args, " "), c.plain())
		}
	})
	return c
}

// plain is all that the terminal was given, without what moves the cursor.
func (c *console) plain() string {
	return control.ReplaceAllString(c.given(), "")
}

// given is all that the terminal was given.
func (c *console) given() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw.String()
}

// types presses keys.
func (c *console) types(keys string) {
	c.t.Helper()
	if _, err := c.file.WriteString(keys); err != nil {
		c.t.Fatal(err)
	}
}

// expect waits until the terminal shows a text behind what was expected before.
func (c *console) expect(text string) {
	c.t.Helper()
	c.wait(fmt.Sprintf("%q", text), func() bool {
		i := strings.Index(c.plain()[c.seen:], text)
		if i >= 0 {
			c.seen += i + len(text)
		}
		return i >= 0
	})
}

// grows waits until the terminal was given so many bytes more.
func (c *console) grows(n int) {
	c.t.Helper()
	before := len(c.given())
	c.wait(fmt.Sprintf("%d bytes more", n), func() bool { return len(c.given()) >= before+n })
}

// wait looks at the screen, as a person does, until something is there.
func (c *console) wait(what string, there func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(Patience); !there(); {
		select {
		case <-c.done:
			if !there() {
				c.t.Fatalf("the program ended without %s", what)
			}
			return
		case <-time.After(20 * time.Millisecond):
			if time.Now().After(deadline) {
				c.t.Fatalf("%s does not come; since the last text came %q", what, c.plain()[c.seen:])
			}
		}
	}
}

// code waits for the end of the program, and returns its exit code.
func (c *console) code() int {
	c.t.Helper()
	select {
	case <-c.done:
	case <-time.After(Patience):
		c.t.Fatal("the program does not end")
	}
	return c.process.ProcessState.ExitCode()
}
