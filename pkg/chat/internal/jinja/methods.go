package jinja

import (
	"strings"
	"unicode"
)

// textMethod returns a method of str, nil where there is none.
func textMethod(name string) func(Text, args) Value {
	switch name {
	case "strip":
		return func(t Text, a args) Value { return t.trim(cutset(a.get(0, "chars", nil)), true, true) }
	case "lstrip":
		return func(t Text, a args) Value { return t.trim(cutset(a.get(0, "chars", nil)), true, false) }
	case "rstrip":
		return func(t Text, a args) Value { return t.trim(cutset(a.get(0, "chars", nil)), false, true) }

	case "split":
		return func(t Text, a args) Value { return splitMethod(t, a, false) }
	case "rsplit":
		return func(t Text, a args) Value { return splitMethod(t, a, true) }
	case "splitlines":
		return func(t Text, a args) Value { return texts(t.lines(a.flag(0, "keepends", false)), false) }
	case "partition":
		return func(t Text, a args) Value {
			sep := needText(a, 0, "sep")
			if k := strings.Index(t.S, sep.S); k >= 0 {
				return texts([]Text{t.slice(0, k), sep, t.slice(k+len(sep.S), len(t.S))}, true)
			}
			return texts([]Text{t, {}, {}}, true)
		}
	case "rpartition":
		return func(t Text, a args) Value {
			sep := needText(a, 0, "sep")
			if k := strings.LastIndex(t.S, sep.S); k >= 0 {
				return texts([]Text{t.slice(0, k), sep, t.slice(k+len(sep.S), len(t.S))}, true)
			}
			return texts([]Text{{}, {}, t}, true)
		}
	case "replace":
		return func(t Text, a args) Value {
			return t.replace(needText(a, 0, "old"), needText(a, 1, "new"), a.integer(2, "count", -1))
		}
	case "removeprefix":
		return func(t Text, a args) Value {
			return t.slice(len(t.S)-len(strings.TrimPrefix(t.S, needText(a, 0, "prefix").S)), len(t.S))
		}
	case "removesuffix":
		return func(t Text, a args) Value {
			return t.slice(0, len(strings.TrimSuffix(t.S, needText(a, 0, "suffix").S)))
		}
	case "join":
		return func(t Text, a args) Value {
			var parts []Text
			for _, v := range iterate(a.get(0, "iterable", nil)) {
				p, ok := v.(Text)
				if !ok {
					fail("TypeError", "sequence item %d: expected str instance, %s found", len(parts), typeName(v))
				}
				parts = append(parts, p)
			}
			return joinTexts(t, parts)
		}

	case "startswith":
		return func(t Text, a args) Value { return affix(t, a, strings.HasPrefix) }
	case "endswith":
		return func(t Text, a args) Value { return affix(t, a, strings.HasSuffix) }
	case "find":
		return func(t Text, a args) Value { return find(t, a, strings.Index, false) }
	case "rfind":
		return func(t Text, a args) Value { return find(t, a, strings.LastIndex, false) }
	case "index":
		return func(t Text, a args) Value { return find(t, a, strings.Index, true) }
	case "rindex":
		return func(t Text, a args) Value { return find(t, a, strings.LastIndex, true) }
	case "count":
		return func(t Text, a args) Value { return int64(strings.Count(t.S, needText(a, 0, "sub").S)) }

	case "upper":
		return func(t Text, _ args) Value { return t.mapped(strings.ToUpper) }
	case "lower":
		return func(t Text, _ args) Value { return t.mapped(strings.ToLower) }
	case "casefold":
		return func(t Text, _ args) Value { return t.mapped(caseFold) }
	case "capitalize":
		return func(t Text, _ args) Value { return capitalized(t) }
	case "title":
		return func(t Text, _ args) Value { return titleMethod(t) }
	case "swapcase":
		return func(t Text, _ args) Value {
			return t.mapped(func(s string) string {
				return strings.Map(func(r rune) rune {
					if unicode.IsUpper(r) {
						return unicode.ToLower(r)
					}
					return unicode.ToUpper(r)
				}, s)
			})
		}

	case "center":
		return func(t Text, a args) Value { return pad(t, a.integer(0, "width", 0), fillChar(a), '^') }
	case "ljust":
		return func(t Text, a args) Value { return pad(t, a.integer(0, "width", 0), fillChar(a), '<') }
	case "rjust":
		return func(t Text, a args) Value { return pad(t, a.integer(0, "width", 0), fillChar(a), '>') }
	case "zfill":
		return func(t Text, a args) Value {
			n := 0
			if strings.HasPrefix(t.S, "-") || strings.HasPrefix(t.S, "+") {
				n = 1
			}
			return concat(t.slice(0, n), pad(t.slice(n, len(t.S)), a.integer(0, "width", 0)-n, '0', '>'))
		}
	case "expandtabs":
		return func(t Text, a args) Value {
			n := a.integer(0, "tabsize", 8)
			col := 0
			var b builder
			for _, c := range iterate(t) {
				switch c := c.(Text); c.S {
				case "\t":
					if n > 0 {
						b.add(c.cover(strings.Repeat(" ", n-col%n)))
						col += n - col%n
					}
				case "\n", "\r":
					b.add(c)
					col = 0
				default:
					b.add(c)
					col++
				}
			}
			return b.text()
		}
	case "format":
		return func(t Text, a args) Value { return formatMethod(t, a) }
	case "encode":
		return func(Text, args) Value {
			fail("TypeError", "bytes are not supported in chat templates")
			return nil
		}

	case "isdigit":
		return func(t Text, _ args) Value { return all(t, unicode.IsDigit) }
	case "isdecimal":
		return func(t Text, _ args) Value { return all(t, unicode.IsDigit) }
	case "isnumeric":
		return func(t Text, _ args) Value { return all(t, unicode.IsNumber) }
	case "isalpha":
		return func(t Text, _ args) Value { return all(t, unicode.IsLetter) }
	case "isalnum":
		return func(t Text, _ args) Value {
			return all(t, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
		}
	case "isspace":
		return func(t Text, _ args) Value { return all(t, isSpace) }
	case "isascii":
		return func(t Text, _ args) Value {
			return strings.IndexFunc(t.S, func(r rune) bool { return r > 0x7f }) < 0
		}
	case "isupper":
		return func(t Text, _ args) Value { return cased(t.S, unicode.IsUpper) }
	case "islower":
		return func(t Text, _ args) Value { return cased(t.S, unicode.IsLower) }
	case "istitle":
		return func(t Text, _ args) Value { return cased(t.S, unicode.IsLetter) && titleMethod(t).S == t.S }
	case "isidentifier":
		return func(t Text, _ args) Value {
			return t.S != "" && !unicode.IsDigit(rune(t.S[0])) && all(t, func(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) })
		}
	}
	return nil
}

func all(t Text, is func(rune) bool) bool {
	return t.S != "" && strings.IndexFunc(t.S, func(r rune) bool { return !is(r) }) < 0
}

func caseFold(s string) string {
	return strings.ReplaceAll(strings.ToLower(s), "ß", "ss")
}

func needText(a args, i int, name string) Text {
	v := a.get(i, name, nil)
	t, ok := v.(Text)
	if !ok {
		fail("TypeError", "argument '%s' must be str, not %s", name, typeName(v))
	}
	return t
}

func fillChar(a args) rune {
	fill := toText(a.get(1, "fillchar", plain(" ")))
	if fill.runes() != 1 {
		fail("TypeError", "The fill character must be exactly one character long")
	}
	return []rune(fill.S)[0]
}

func texts(parts []Text, tuple bool) *List {
	l := &List{tuple: tuple, Items: make([]Value, len(parts))}
	for i, p := range parts {
		l.Items[i] = p
	}
	return l
}

func splitMethod(t Text, a args, fromRight bool) Value {
	n := a.integer(1, "maxsplit", -1)
	sep := a.get(0, "sep", nil)
	if sep == nil {
		return texts(t.fields(n, fromRight), false)
	}
	s, ok := sep.(Text)
	if !ok {
		fail("TypeError", "must be str or None, not %s", typeName(sep))
	}
	if s.S == "" {
		fail("ValueError", "empty separator")
	}
	return texts(t.split(s.S, n, fromRight), false)
}

func affix(t Text, a args, has func(s, affix string) bool) bool {
	v := a.get(0, "prefix", nil)
	if from := a.integer(1, "start", 0); from != 0 || len(a.pos) > 2 {
		t = slice(t, int64(from), a.get(2, "end", nil), nil).(Text)
	}
	if l, ok := v.(*List); ok && l.tuple {
		for _, e := range l.Items {
			if p, ok := e.(Text); ok && has(t.S, p.S) {
				return true
			}
		}
		return false
	}
	p, ok := v.(Text)
	if !ok {
		fail("TypeError", "startswith and endswith need a str or a tuple of str, not %s", typeName(v))
	}
	return has(t.S, p.S)
}

func find(t Text, a args, index func(s, sub string) int, must bool) Value {
	sub := needText(a, 0, "sub")
	from := 0
	if len(a.pos) > 1 {
		from, _ = indexOf(a.pos[1])
		if from < 0 {
			from = max(0, from+t.runes())
		}
		t = slice(t, int64(from), a.get(2, "end", nil), nil).(Text)
	}
	k := index(t.S, sub.S)
	if k < 0 {
		if must {
			fail("ValueError", "substring not found")
		}
		return int64(-1)
	}
	return int64(from + plain(t.S[:k]).runes())
}

// titleMethod is str.title(): every letter after a character without case is raised.
func titleMethod(t Text) Text {
	after := false
	return t.mapped(func(s string) string {
		return strings.Map(func(r rune) rune {
			was := after
			after = unicode.IsUpper(r) || unicode.IsLower(r) || unicode.IsTitle(r)
			if was {
				return unicode.ToLower(r)
			}
			return unicode.ToTitle(r)
		}, s)
	})
}

func listMethod(l *List, name string) (Value, bool) {
	switch name {
	case "count":
		return &callable{name, func(_ *interp, a args) Value {
			n := int64(0)
			for _, e := range l.Items {
				if equal(e, a.get(0, "value", nil)) {
					n++
				}
			}
			return n
		}}, true
	case "index":
		return &callable{name, func(_ *interp, a args) Value {
			for i, e := range l.Items {
				if equal(e, a.get(0, "value", nil)) {
					return int64(i)
				}
			}
			fail("ValueError", "value is not in list")
			return nil
		}}, true
	case "copy":
		return &callable{name, func(*interp, args) Value { return &List{Items: l.Items} }}, !l.tuple
	}
	return nil, false
}

func dictMethod(d *Dict, name string) (Value, bool) {
	var f func(args) Value
	switch name {
	case "items":
		f = func(args) Value { return &List{Items: d.pairs()} }
	case "keys":
		f = func(args) Value { return &List{Items: d.keys} }
	case "values":
		f = func(args) Value { return &List{Items: d.vals} }
	case "copy":
		f = func(args) Value { return dictOf(args{pos: []Value{d}}) }
	case "get":
		f = func(a args) Value {
			if v, ok := d.Get(a.get(0, "key", nil)); ok {
				return v
			}
			return a.get(1, "default", nil)
		}
	default:
		return nil, false
	}
	return &callable{name, func(_ *interp, a args) Value { return f(a) }}, true
}
