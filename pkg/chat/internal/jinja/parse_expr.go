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
