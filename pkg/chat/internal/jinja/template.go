// Package jinja renders chat templates as Jinja 3 does inside Hugging Face transformers: trim_blocks,
// lstrip_blocks, break and continue, generation blocks, the immutable sandbox and Python's semantics
// of values, undefined ones included. What no library offers is the reason for it: every string
// carries marks that say which of its bytes came from the messages (see Text), through every filter,
// method and macro, so that a caller knows by position what the template wrote itself.
//
// A template is parsed once into closures and may then be rendered by many goroutines.
package jinja

import "time"

// Template is a parsed template. It is safe for concurrent use.
type Template struct {
	body     []stmt
	maxSteps int
}

// Parse reads a template. The error is an *Error of type TemplateSyntaxError with its line.
func Parse(source string) (t *Template, err error) {
	p := &parser{used: map[string]bool{}}
	defer func() {
		if r := recover(); r != nil {
			t, err = nil, recovered(r, p.line())
		}
	}()
	p.toks = lex(source)
	body := p.statements()
	if p.cur().kind != tokEOF {
		p.fail("Encountered unknown tag '%s'.", p.toks[p.i+1].text)
	}
	return &Template{body: body, maxSteps: maxSteps}, nil
}

// Render renders the template with vars as its variables. now is the time that strftime_now
// formats. The text carries a mark of SourceGeneration for every generation block.
func (t *Template) Render(vars *Dict, now time.Time) (out Text, err error) {
	in := &interp{out: &builder{}, now: now, scope: globals(), maxSteps: t.maxSteps}
	in.push()
	for i, k := range vars.keys {
		in.scope.set(toText(k).S, vars.vals[i])
	}
	in.push()
	defer func() {
		if r := recover(); r != nil {
			out, err = Text{}, recovered(r, in.line)
		}
	}()
	in.run(t.body)
	return in.out.text(), nil
}

// scope holds the variables of one level.
type scope struct {
	vars   map[string]Value
	parent *scope
}

func (s *scope) set(name string, v Value) {
	if s.vars == nil {
		s.vars = make(map[string]Value, 4)
	}
	s.vars[name] = v
}

func (s *scope) get(name string) (Value, bool) {
	for ; s != nil; s = s.parent {
		if v, ok := s.vars[name]; ok {
			return v, true
		}
	}
	return nil, false
}

type control int

const (
	proceed control = iota
	breakLoop
	continueLoop
)

// interp is the state of one rendering.
type interp struct {
	scope           *scope
	out             *builder
	now             time.Time
	line            int
	ctl             control
	depth           int
	steps, maxSteps int
}

type (
	expr = func(*interp) Value
	stmt = func(*interp)
)

func (in *interp) push() { in.scope = &scope{parent: in.scope} }

func (in *interp) run(body []stmt) {
	for _, s := range body {
		if in.steps++; in.steps > in.maxSteps {
			fail("RuntimeError", "the template does not come to an end after %d statements", in.maxSteps)
		}
		s(in)
		if in.ctl != proceed {
			return
		}
	}
}

// Bounds of a rendering: templates are input.
const (
	maxDepth   = 200       // recursion of macros, loops and expressions
	maxNesting = 1000      // of values
	maxSteps   = 5_000_000 // statements
	maxOutput  = 256 << 20 // bytes of a text
)

// capture runs body in a new scope below parent and returns what it printed.
func (in *interp) capture(parent *scope, prepare func(), body []stmt) Text {
	if in.depth++; in.depth > maxDepth {
		fail("RecursionError", "maximum recursion depth exceeded")
	}
	oldScope, oldOut, oldCtl := in.scope, in.out, in.ctl
	in.scope, in.out, in.ctl = &scope{parent: parent}, &builder{}, proceed
	if prepare != nil {
		prepare()
	}
	in.run(body)
	t := in.out.text()
	in.scope, in.out, in.ctl = oldScope, oldOut, oldCtl
	in.depth--
	return t
}
