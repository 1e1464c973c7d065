package jinja

import "fmt"

// parser turns tokens into closures.
type parser struct {
	toks  []token
	i     int
	loops int
	depth int
	// used collects the names read since the innermost macro began.
	used map[string]bool
}

func (p *parser) cur() token { return p.toks[p.i] }

func (p *parser) line() int {
	if p.i < len(p.toks) {
		return p.toks[p.i].line
	}
	return 0
}

func (p *parser) next() token {
	t := p.toks[p.i]
	if p.i < len(p.toks)-1 {
		p.i++
	}
	return t
}

func (p *parser) fail(format string, a ...any) {
	panic(&Error{Type: "TemplateSyntaxError", Message: fmt.Sprintf(format, a...), Line: p.line()})
}

// deeper guards the recursion of the parser; the result is to be deferred.
func (p *parser) deeper() func() {
	if p.depth++; p.depth > maxDepth {
		p.fail("too many expressions or blocks in each other")
	}
	return func() { p.depth-- }
}

func (p *parser) is(kind string) bool { return p.cur().kind == kind }

func (p *parser) isName(name string) bool { t := p.cur(); return t.kind == tokName && t.text == name }

func (p *parser) skip(kind string) bool {
	if p.is(kind) {
		p.next()
		return true
	}
	return false
}

func (p *parser) skipName(name string) bool {
	if p.isName(name) {
		p.next()
		return true
	}
	return false
}

func (p *parser) expect(kind string) token {
	if !p.is(kind) {
		p.fail("expected token '%s', got '%s'", kind, p.describe())
	}
	return p.next()
}

func (p *parser) describe() string {
	t := p.cur()
	if t.text != "" && t.kind != tokData {
		return t.text
	}
	return t.kind
}

// statements parses until a block whose name is in ends (which it leaves unread), or the end.
func (p *parser) statements(ends ...string) []stmt {
	var body []stmt
	for {
		t := p.cur()
		switch t.kind {
		case tokEOF:
			if len(ends) > 0 {
				p.fail("Unexpected end of template. Jinja was looking for the following tags: '%s'.", ends[0])
			}
			return body
		case tokData:
			p.next()
			text := plain(t.text)
			body = append(body, func(in *interp) { in.out.add(text) })
		case tokOpen:
			p.next()
			e := p.tuple(true)
			p.expect(tokClose)
			body = append(body, func(in *interp) { in.line = t.line; in.out.add(toText(e(in))) })
		case tokBegin:
			name := p.toks[p.i+1]
			for _, e := range ends {
				if name.kind == tokName && name.text == e {
					return body
				}
			}
			p.next()
			s := p.statement()
			body = append(body, func(in *interp) { in.line = t.line; s(in) })
		default:
			p.fail("unexpected '%s'", p.describe())
		}
	}
}

// body parses the rest of a block up to its end tag, and that tag.
func (p *parser) body(end string) []stmt {
	p.expect(tokEnd)
	b := p.statements(end)
	p.next()
	p.next()
	p.expect(tokEnd)
	return b
}

func (p *parser) statement() stmt {
	defer p.deeper()()
	t := p.expect(tokName)
	switch t.text {
	case "if":
		return p.ifBlock()
	case "for":
		return p.forBlock()
	case "set":
		return p.setBlock()
	case "macro":
		return p.macroBlock()
	case "call":
		return p.callBlock()
	case "with":
		return p.withBlock()
	case "filter":
		f := p.filters(nil, true)
		body := p.body("endfilter")
		return func(in *interp) {
			text := in.capture(in.scope, nil, body)
			in.out.add(toText(f(in, text)))
		}
	case "generation":
		return p.generationBlock()
	case "break", "continue":
		if p.loops == 0 {
			p.fail("'%s' outside loop", t.text)
		}
		p.expect(tokEnd)
		ctl := breakLoop
		if t.text == "continue" {
			ctl = continueLoop
		}
		return func(in *interp) { in.ctl = ctl }
	}
	p.fail("Encountered unknown tag '%s'.", t.text)
	return nil
}

func (p *parser) ifBlock() stmt {
	type branch struct {
		cond expr
		body []stmt
	}
	var branches []branch
	cond := p.tuple(false)
	for {
		p.expect(tokEnd)
		branches = append(branches, branch{cond, p.statements("elif", "else", "endif")})
		p.next()
		switch p.next().text {
		case "elif":
			cond = p.tuple(false)
			continue
		case "else":
			branches = append(branches, branch{nil, p.body("endif")})
		default:
			p.expect(tokEnd)
		}
		break
	}
	return func(in *interp) {
		for _, b := range branches {
			if b.cond == nil || truth(b.cond(in)) {
				in.run(b.body)
				return
			}
		}
	}
}

// generationBlock marks what its body prints. As in transformers the body is a scope of its own.
func (p *parser) generationBlock() stmt {
	body := p.isolated(func() []stmt { return p.body("endgeneration") })
	return func(in *interp) {
		text := in.capture(in.scope, nil, body)
		text.Marks = append([]Mark{{0, len(text.S), SourceGeneration}}, text.Marks...)
		in.out.add(text)
	}
}

// isolated parses a body from which break and continue do not reach a loop outside.
func (p *parser) isolated(parse func() []stmt) []stmt {
	loops := p.loops
	p.loops = 0
	defer func() { p.loops = loops }()
	return parse()
}

func (p *parser) withBlock() stmt {
	var targets []target
	var values []expr
	for !p.is(tokEnd) {
		if len(targets) > 0 {
			p.expect(",")
		}
		targets = append(targets, p.target(false))
		p.expect("=")
		values = append(values, p.expression())
	}
	body := p.body("endwith")
	return func(in *interp) {
		vals := make([]Value, len(values))
		for i, v := range values {
			vals[i] = v(in)
		}
		outer := in.scope
		in.push()
		for i, t := range targets {
			t(in, vals[i])
		}
		in.run(body)
		in.scope = outer
	}
}

func (p *parser) setBlock() stmt {
	to := p.target(true)
	if p.skip("=") {
		v := p.tuple(true)
		p.expect(tokEnd)
		return func(in *interp) { to(in, v(in)) }
	}
	var f func(*interp, Value) Value
	if p.is("|") {
		f = p.filters(nil, false)
	}
	body := p.isolated(func() []stmt { return p.body("endset") })
	return func(in *interp) {
		var v Value = in.capture(in.scope, nil, body)
		if f != nil {
			v = f(in, v)
		}
		to(in, v)
	}
}

// target assigns a value to names.
type target func(*interp, Value)

// target parses `a`, `a, b`, `a, (b, c)` or, where namespaced, `ns.attr`.
func (p *parser) target(namespaced bool) target {
	defer p.deeper()()
	var list []target
	isTuple := false
	for {
		switch {
		case p.skip("("):
			list = append(list, p.target(namespaced))
			p.expect(")")
		case p.is(tokName):
			name := p.next().text
			if namespaced && p.skip(".") {
				list = append(list, attrTarget(name, p.expect(tokName).text))
				p.used[name] = true
				break
			}
			switch name {
			case "true", "false", "none", "True", "False", "None":
				p.fail("can't assign to '%s'", name)
			}
			list = append(list, func(in *interp, v Value) { in.scope.set(name, v) })
		default:
			p.fail("expected a name to assign to, got '%s'", p.describe())
		}
		if !p.skip(",") {
			break
		}
		isTuple = true
		if !p.is(tokName) && !p.is("(") {
			break
		}
	}
	if !isTuple {
		return list[0]
	}
	return func(in *interp, v Value) { unpack(in, list, v) }
}

func attrTarget(name, attr string) target {
	return func(in *interp, v Value) {
		obj, _ := in.scope.get(name)
		ns, ok := obj.(*Namespace)
		if !ok {
			fail("TemplateRuntimeError", "cannot assign attribute on non-namespace object")
		}
		ns.attrs.SetString(attr, v)
	}
}

func unpack(in *interp, list []target, v Value) {
	items := iterate(v)
	if len(items) > len(list) {
		fail("ValueError", "too many values to unpack (expected %d)", len(list))
	}
	if len(items) < len(list) {
		fail("ValueError", "not enough values to unpack (expected %d, got %d)", len(list), len(items))
	}
	for i, t := range list {
		t(in, items[i])
	}
}
