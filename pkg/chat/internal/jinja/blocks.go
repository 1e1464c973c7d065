package jinja

// loop is the variable `loop` inside a for.
type loop struct {
	items   []Value
	index0  int
	depth0  int
	again   func(in *interp, items Value, depth int) Text
	changed []Value
	seen    bool
}

func (l *loop) attr(name string) Value {
	n := len(l.items)
	switch name {
	case "index":
		return int64(l.index0 + 1)
	case "index0":
		return int64(l.index0)
	case "revindex":
		return int64(n - l.index0)
	case "revindex0":
		return int64(n - l.index0 - 1)
	case "first":
		return l.index0 == 0
	case "last":
		return l.index0 == n-1
	case "length":
		return int64(n)
	case "depth":
		return int64(l.depth0 + 1)
	case "depth0":
		return int64(l.depth0)
	case "previtem":
		if l.index0 > 0 {
			return l.items[l.index0-1]
		}
		return &Undefined{message: "there is no previous item"}
	case "nextitem":
		if l.index0 < n-1 {
			return l.items[l.index0+1]
		}
		return &Undefined{message: "there is no next item"}
	case "cycle":
		return &callable{"cycle", func(_ *interp, a args) Value {
			if len(a.pos) == 0 {
				fail("TypeError", "no items for cycling given")
			}
			return a.pos[l.index0%len(a.pos)]
		}}
	case "changed":
		return &callable{"changed", func(_ *interp, a args) Value {
			if l.seen && equal(&List{Items: l.changed}, &List{Items: a.pos}) {
				return false
			}
			l.seen, l.changed = true, a.pos
			return true
		}}
	}
	return nil
}

func (p *parser) forBlock() stmt {
	to := p.target(false)
	if !p.skipName("in") {
		p.fail("expected token 'in', got '%s'", p.describe())
	}
	over := p.tuple(false)
	var cond expr
	if p.skipName("if") {
		cond = p.expression()
	}
	recursive := p.skipName("recursive")
	p.expect(tokEnd)
	p.loops++
	body := p.statements("endfor", "else")
	p.loops--
	p.next()
	var otherwise []stmt
	if p.next().text == "else" {
		otherwise = p.body("endfor")
	} else {
		p.expect(tokEnd)
	}
	f := &forLoop{to, cond, body, otherwise, recursive}
	return func(in *interp) { f.run(in, over(in), 0) }
}

type forLoop struct {
	to        target
	cond      expr
	body      []stmt
	otherwise []stmt
	recursive bool
}

func (f *forLoop) run(in *interp, over Value, depth int) {
	outer := in.scope
	items := iterate(over)
	if f.cond != nil {
		var kept []Value
		for _, item := range items {
			in.scope = &scope{parent: outer}
			f.to(in, item)
			if truth(f.cond(in)) {
				kept = append(kept, item)
			}
		}
		items = kept
	}
	l := &loop{items: items, depth0: depth}
	if f.recursive {
		l.again = func(in *interp, v Value, depth int) Text {
			t := in.capture(outer, nil, []stmt{func(in *interp) { f.run(in, v, depth) }})
			return t
		}
	}
	for i, item := range items {
		l.index0 = i
		in.scope = &scope{parent: outer}
		in.scope.set("loop", l)
		f.to(in, item)
		in.run(f.body)
		ctl := in.ctl
		in.ctl = proceed
		if ctl == breakLoop {
			break
		}
	}
	in.scope = outer
	if len(items) == 0 {
		in.scope = &scope{parent: outer}
		in.run(f.otherwise)
		in.scope = outer
	}
}

// signature is the parameters of a macro or a call block.
type signature struct {
	names    []string
	defaults []expr // of the last parameters
	varargs  bool
	kwargs   bool
}

func (p *parser) signature() *signature {
	s := &signature{}
	p.expect("(")
	for !p.is(")") {
		if len(s.names) > 0 {
			p.expect(",")
			if p.is(")") {
				break
			}
		}
		s.names = append(s.names, p.expect(tokName).text)
		if p.skip("=") {
			s.defaults = append(s.defaults, p.expression())
		} else if len(s.defaults) > 0 {
			p.fail("non-default argument follows default argument")
		}
	}
	p.expect(")")
	return s
}

// macroBody parses a body and notes which of varargs and kwargs it reads.
func (p *parser) macroBody(s *signature, end string) []stmt {
	outer := p.used
	p.used = map[string]bool{}
	body := p.isolated(func() []stmt { return p.body(end) })
	s.varargs, s.kwargs = p.used["varargs"], p.used["kwargs"]
	for name := range p.used {
		outer[name] = true
	}
	p.used = outer
	return body
}

func (p *parser) macroBlock() stmt {
	name := p.expect(tokName).text
	s := p.signature()
	body := p.macroBody(s, "endmacro")
	return func(in *interp) { in.scope.set(name, newMacro(name, s, body, in.scope)) }
}

func newMacro(name string, s *signature, body []stmt, closure *scope) *callable {
	return &callable{name, func(in *interp, a args) Value {
		return in.capture(closure, func() { s.bind(in, name, a) }, body)
	}}
}

// bind sets the parameters in the scope of a macro.
func (s *signature) bind(in *interp, name string, a args) {
	given := map[string]bool{}
	for i, n := range s.names {
		var v Value
		ok := false
		if i < len(a.pos) {
			v, ok = a.pos[i], true
		} else if a.kw != nil {
			v, ok = a.kw.str(n)
			given[n] = ok
		}
		if !ok {
			if d := i - (len(s.names) - len(s.defaults)); d >= 0 {
				v = s.defaults[d](in)
			} else {
				v = &Undefined{message: "parameter '" + n + "' was not provided"}
			}
		}
		in.scope.set(n, v)
	}
	if len(a.pos) > len(s.names) && !s.varargs {
		fail("TypeError", "macro '%s' takes not more than %d argument(s)", name, len(s.names))
	}
	if s.varargs {
		in.scope.set("varargs", &List{Items: a.pos[min(len(s.names), len(a.pos)):], tuple: true})
	}
	rest := NewDict()
	if a.kw != nil {
		for i, k := range a.kw.keys {
			if key := toText(k).S; !given[key] {
				if !s.kwargs {
					fail("TypeError", "macro '%s' takes no keyword argument '%s'", name, key)
				}
				rest.Set(k, a.kw.vals[i])
			}
		}
	}
	if s.kwargs {
		in.scope.set("kwargs", rest)
	}
	if a.caller != nil {
		in.scope.set("caller", a.caller)
	}
}

func (p *parser) callBlock() stmt {
	s := &signature{}
	if p.is("(") {
		s = p.signature()
	}
	f := p.primary()
	for !p.is("(") {
		switch {
		case p.skip("."):
			f = p.attribute(f)
		case p.skip("["):
			f = p.subscript(f)
		default:
			p.fail("expected call")
		}
	}
	get := p.arguments()
	body := p.macroBody(s, "endcall")
	return func(in *interp) {
		fn, a := f(in), get(in)
		a.caller = newMacro("caller", s, body, in.scope)
		in.out.add(toText(invoke(in, fn, a)))
	}
}

// invoke calls a value.
func invoke(in *interp, f Value, a args) Value {
	switch f := f.(type) {
	case *callable:
		return f.call(in, a)
	case *loop:
		if f.again == nil {
			fail("TypeError", "The loop must have the 'recursive' marker to be called recursively.")
		}
		if len(a.pos) != 1 {
			fail("TypeError", "loop() takes one argument")
		}
		return f.again(in, a.pos[0], f.depth0+1)
	case *Undefined:
		f.fail()
	}
	fail("TypeError", "'%s' object is not callable", typeName(f))
	return nil
}
