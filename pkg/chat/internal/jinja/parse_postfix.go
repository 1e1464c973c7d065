package jinja

// postfix parses attributes, subscripts and calls behind an operand.
func (p *parser) postfix(e expr) expr {
	for {
		switch {
		case p.skip("."):
			e = p.attribute(e)
		case p.skip("["):
			e = p.subscript(e)
		case p.is("("):
			e = p.callOf(e)
		default:
			return e
		}
	}
}

func (p *parser) attribute(obj expr) expr {
	t := p.next()
	if t.kind == tokNum {
		v, _ := number(t.text)
		return func(in *interp) Value { return getItem(obj(in), v) }
	}
	if t.kind != tokName {
		p.fail("expected name or number")
	}
	return func(in *interp) Value { return getAttr(obj(in), t.text) }
}

func (p *parser) subscript(obj expr) expr {
	var parts [3]expr
	var items []expr
	n, isSlice := 0, false
	for !p.is("]") {
		switch {
		case p.skip(":"):
			isSlice = true
			if n++; n > 2 {
				p.fail("too many parts of a slice")
			}
		case p.skip(","):
		default:
			parts[n] = p.expression()
			items = append(items, parts[n])
		}
	}
	p.expect("]")
	if isSlice {
		return func(in *interp) Value {
			o := obj(in)
			var v [3]Value
			for i, e := range parts {
				if e != nil {
					v[i] = e(in)
				}
			}
			return slice(o, v[0], v[1], v[2])
		}
	}
	if len(items) == 0 {
		p.fail("expected subscript expression")
	}
	key := items[0]
	if len(items) > 1 {
		key = listOf(items, true)
	}
	return func(in *interp) Value { o := obj(in); return getItem(o, key(in)) }
}

// callOf parses the arguments of a call of e.
func (p *parser) callOf(e expr) expr {
	get := p.arguments()
	return func(in *interp) Value { f := e(in); return invoke(in, f, get(in)) }
}

// arguments parses `(a, b, k=v, *list, **dict)`.
func (p *parser) arguments() func(*interp) args {
	type arg struct {
		name string
		star string
		e    expr
	}
	var list []arg
	p.expect("(")
	for !p.is(")") {
		if len(list) > 0 {
			p.expect(",")
			if p.is(")") {
				break
			}
		}
		switch {
		case p.is("*") || p.is("**"):
			star := p.next().kind
			list = append(list, arg{star: star, e: p.expression()})
		case p.is(tokName) && p.toks[p.i+1].kind == "=":
			name := p.next().text
			p.next()
			list = append(list, arg{name: name, e: p.expression()})
		default:
			list = append(list, arg{e: p.expression()})
		}
	}
	p.expect(")")
	return func(in *interp) args {
		var a args
		for _, x := range list {
			v := x.e(in)
			switch {
			case x.star == "*":
				a.pos = append(a.pos, iterate(v)...)
			case x.star == "**" || x.name != "":
				if a.kw == nil {
					a.kw = NewDict()
				}
				if d, ok := v.(*Dict); ok && x.name == "" {
					for i, k := range d.keys {
						a.kw.Set(k, d.vals[i])
					}
					continue
				}
				a.kw.SetString(x.name, v)
			default:
				a.pos = append(a.pos, v)
			}
		}
		return a
	}
}

// filterExpr parses filters, tests and calls after an operand.
func (p *parser) filterExpr(e expr) expr {
	for {
		switch {
		case p.is("|"):
			f, v := p.filters(nil, false), e
			e = func(in *interp) Value { return f(in, v(in)) }
		case p.isName("is"):
			e = p.test(e)
		case p.is("("):
			e = p.callOf(e)
		default:
			return e
		}
	}
}

// filters parses `| a | b(…)`; inline begins with the name of the first.
func (p *parser) filters(f func(*interp, Value) Value, inline bool) func(*interp, Value) Value {
	for inline || p.is("|") {
		if !inline {
			p.next()
		}
		inline = false
		name := p.dotted()
		get := func(*interp) args { return args{} }
		if p.is("(") {
			get = p.arguments()
		}
		before := f
		f = func(in *interp, v Value) Value {
			if before != nil {
				v = before(in, v)
			}
			return applyFilter(in, name, v, get(in))
		}
	}
	return f
}

func (p *parser) dotted() string {
	name := p.expect(tokName).text
	for p.skip(".") {
		name += "." + p.expect(tokName).text
	}
	return name
}

func (p *parser) test(e expr) expr {
	p.next()
	negate := p.skipName("not")
	name := p.dotted()
	get := func(*interp) args { return args{} }
	t := p.cur()
	switch t.kind {
	case "(":
		get = p.arguments()
	case tokName, tokText, tokNum, "[", "{":
		if t.kind == tokName && (t.text == "else" || t.text == "or" || t.text == "and") {
			break
		}
		if p.isName("is") {
			p.fail("You cannot chain multiple tests with is")
		}
		arg := p.postfix(p.primary())
		get = func(in *interp) args { return args{pos: []Value{arg(in)}} }
	}
	return func(in *interp) Value { v := e(in); return applyTest(in, name, v, get(in)) != negate }
}
