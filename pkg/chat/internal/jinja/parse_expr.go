package jinja

// expression parses one expression, with an inline if.
func (p *parser) expression() expr {
	defer p.deeper()()
	e := p.or()
	for p.skipName("if") {
		cond := p.or()
		var other expr
		if p.skipName("else") {
			other = p.expression()
		}
		yes := e
		e = func(in *interp) Value {
			if truth(cond(in)) {
				return yes(in)
			}
			if other == nil {
				return &Undefined{message: "the inline if-expression evaluated to false and no else section was defined."}
			}
			return other(in)
		}
	}
	return e
}

// tuple parses expressions with commas between them; inline ifs only where conds is true.
func (p *parser) tuple(conds bool) expr {
	parse := p.or
	if conds {
		parse = p.expression
	}
	first := parse()
	if !p.is(",") {
		return first
	}
	items := []expr{first}
	for p.skip(",") {
		switch p.cur().kind {
		case tokEnd, tokClose, ")":
		default:
			items = append(items, parse())
			continue
		}
		break
	}
	return listOf(items, true)
}

func listOf(items []expr, tuple bool) expr {
	return func(in *interp) Value {
		l := &List{Items: make([]Value, len(items)), tuple: tuple}
		for i, e := range items {
			l.Items[i] = e(in)
		}
		return l
	}
}

func (p *parser) or() expr {
	e := p.and()
	for p.skipName("or") {
		a, b := e, p.and()
		e = func(in *interp) Value {
			if v := a(in); truth(v) {
				return v
			}
			return b(in)
		}
	}
	return e
}

func (p *parser) and() expr {
	e := p.not()
	for p.skipName("and") {
		a, b := e, p.not()
		e = func(in *interp) Value {
			if v := a(in); !truth(v) {
				return v
			}
			return b(in)
		}
	}
	return e
}

func (p *parser) not() expr {
	defer p.deeper()()
	if p.skipName("not") {
		e := p.not()
		return func(in *interp) Value { return !truth(e(in)) }
	}
	return p.comparison()
}

func (p *parser) comparison() expr {
	first := p.sum()
	var ops []string
	var rest []expr
	for {
		t := p.cur()
		op := ""
		switch {
		case t.kind == "==" || t.kind == "!=" || t.kind == "<" || t.kind == "<=" || t.kind == ">" || t.kind == ">=":
			op = t.kind
			p.next()
		case p.skipName("in"):
			op = "in"
		case p.isName("not") && p.toks[p.i+1].kind == tokName && p.toks[p.i+1].text == "in":
			p.next()
			p.next()
			op = "not in"
		}
		if op == "" {
			break
		}
		ops = append(ops, op)
		rest = append(rest, p.sum())
	}
	if len(ops) == 0 {
		return first
	}
	return func(in *interp) Value {
		a := first(in)
		for i, op := range ops {
			b := rest[i](in)
			if !holds(op, a, b) {
				return false
			}
			a = b
		}
		return true
	}
}

func holds(op string, a, b Value) bool {
	switch op {
	case "==":
		return equal(a, b)
	case "!=":
		return !equal(a, b)
	case "in":
		return contains(a, b)
	case "not in":
		return !contains(a, b)
	case "<":
		return compare(a, b, op) < 0
	case "<=":
		return compare(a, b, op) <= 0
	case ">":
		return compare(a, b, op) > 0 && !isNaN(a, b)
	}
	return compare(a, b, op) >= 0 && !isNaN(a, b)
}

func isNaN(a, b Value) bool {
	x, _ := a.(float64)
	y, _ := b.(float64)
	return x != x || y != y
}

func (p *parser) binary(operand func() expr, ops ...string) expr {
	e := operand()
	for {
		op := p.cur().kind
		found := false
		for _, o := range ops {
			found = found || o == op
		}
		if !found {
			return e
		}
		p.next()
		a, b := e, operand()
		e = func(in *interp) Value { x := a(in); return arithmetic(op, x, b(in)) }
	}
}

func (p *parser) sum() expr { return p.binary(p.concatenation, "+", "-") }

func (p *parser) concatenation() expr {
	e := p.product()
	if !p.is("~") {
		return e
	}
	parts := []expr{e}
	for p.skip("~") {
		parts = append(parts, p.product())
	}
	return func(in *interp) Value {
		texts := make([]Text, len(parts))
		for i, e := range parts {
			texts[i] = toText(e(in))
		}
		return joinTexts(Text{}, texts)
	}
}

func (p *parser) product() expr { return p.binary(p.power, "*", "/", "//", "%") }

func (p *parser) power() expr { return p.binary(func() expr { return p.unary(true) }, "**") }

func (p *parser) unary(filters bool) expr {
	defer p.deeper()()
	var e expr
	switch {
	case p.skip("-"):
		v := p.unary(false)
		e = func(in *interp) Value { return arithmetic("-", int64(0), number1(v(in), "-")) }
	case p.skip("+"):
		v := p.unary(false)
		e = func(in *interp) Value { return number1(v(in), "+") }
	default:
		e = p.primary()
	}
	e = p.postfix(e)
	if filters {
		e = p.filterExpr(e)
	}
	return e
}

func constant(v Value) expr { return func(*interp) Value { return v } }

func (p *parser) primary() expr {
	t := p.next()
	switch t.kind {
	case tokName:
		switch t.text {
		case "true", "True":
			return constant(true)
		case "false", "False":
			return constant(false)
		case "none", "None":
			return constant(nil)
		}
		name := t.text
		p.used[name] = true
		return func(in *interp) Value {
			if v, ok := in.scope.get(name); ok {
				return v
			}
			return &Undefined{message: "'" + name + "' is undefined"}
		}
	case tokText:
		s := t.text
		for p.is(tokText) {
			s += p.next().text
		}
		return constant(plain(s))
	case tokNum:
		v, err := number(t.text)
		if err != nil {
			p.fail("bad number '%s'", t.text)
		}
		return constant(v)
	case "(":
		if p.skip(")") {
			return constant(&List{tuple: true})
		}
		e := p.tuple(true)
		p.expect(")")
		return e
	case "[":
		var items []expr
		for !p.is("]") {
			if len(items) > 0 {
				p.expect(",")
				if p.is("]") {
					break
				}
			}
			items = append(items, p.expression())
		}
		p.expect("]")
		return listOf(items, false)
	case "{":
		return p.dict()
	}
	p.i--
	p.fail("unexpected '%s'", p.describe())
	return nil
}

func (p *parser) dict() expr {
	var keys, vals []expr
	for !p.is("}") {
		if len(keys) > 0 {
			p.expect(",")
			if p.is("}") {
				break
			}
		}
		keys = append(keys, p.expression())
		p.expect(":")
		vals = append(vals, p.expression())
	}
	p.expect("}")
	return func(in *interp) Value {
		d := NewDict()
		for i := range keys {
			k := keys[i](in)
			d.Set(k, vals[i](in))
		}
		return d
	}
}

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
