package jinja

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// spec is one conversion of a format.
type spec struct {
	fill      rune
	align     byte
	sign      byte
	alternate bool
	comma     bool
	width     int
	precision int // -1: none
	kind      byte
}

// percentFormat is Python's `text % values`.
func percentFormat(t Text, values Value) Text {
	list, isTuple := values.(*List)
	isTuple = isTuple && list.tuple
	dict, isDict := values.(*Dict)
	next := 0
	take := func() Value {
		if !isTuple {
			if next > 0 {
				fail("TypeError", "not enough arguments for format string")
			}
			next++
			return values
		}
		if next >= len(list.Items) {
			fail("TypeError", "not enough arguments for format string")
		}
		next++
		return list.Items[next-1]
	}
	var b builder
	b.safe = t.safe
	s := t.S
	for i := 0; i < len(s); {
		k := strings.IndexByte(s[i:], '%')
		if k < 0 {
			b.add(t.slice(i, len(s)))
			break
		}
		b.add(t.slice(i, i+k))
		i += k + 1
		if i < len(s) && s[i] == '%' {
			b.str("%")
			i++
			continue
		}
		get := take
		if i < len(s) && s[i] == '(' {
			end := strings.IndexByte(s[i:], ')')
			if end < 0 || !isDict {
				fail("TypeError", "format requires a mapping")
			}
			v, ok := dict.str(s[i+1 : i+end])
			if !ok {
				fail("KeyError", "'%s'", s[i+1:i+end])
			}
			next++
			get = func() Value { return v }
			i += end + 1
		}
		var f spec
		f, i = percentSpec(s, i)
		b.add(f.format(get(), true))
	}
	if (isTuple && next < len(list.Items)) || (!isTuple && !isDict && next == 0) {
		fail("TypeError", "not all arguments converted during string formatting")
	}
	return b.text()
}

func percentSpec(s string, i int) (spec, int) {
	f := spec{fill: ' ', align: '>', precision: -1}
	for ; i < len(s) && strings.IndexByte("-+ #0", s[i]) >= 0; i++ {
		switch s[i] {
		case '-':
			f.align = '<'
		case '#':
			f.alternate = true
		case '0':
			f.fill = '0'
		default:
			f.sign = s[i]
		}
	}
	f.width, i = digits(s, i)
	if i < len(s) && s[i] == '.' {
		f.precision, i = digits(s, i+1)
	}
	if i == len(s) {
		fail("ValueError", "incomplete format")
	}
	f.kind = s[i]
	if f.align == '>' && f.fill == '0' {
		f.align = '='
	}
	if f.align == '<' {
		f.fill = ' '
	}
	return f, i + 1
}

func digits(s string, i int) (int, int) {
	j := i
	for j < len(s) && s[j] >= '0' && s[j] <= '9' {
		j++
	}
	n, err := strconv.Atoi("0" + s[i:j])
	if err != nil || n > 1<<20 {
		fail("ValueError", "too many digits in a format")
	}
	return n, j
}

// format formats one value; percent says that the conversion is of the old style, where %d takes
// floats and %s anything.
func (f spec) format(v Value, percent bool) Text {
	if u, ok := v.(*Undefined); ok && f.kind != 's' && f.kind != 'r' {
		u.fail()
	}
	var t Text
	switch f.kind {
	case 's', 'a', 0:
		if _, isText := v.(Text); f.kind == 0 && !isText {
			if _, isNumber := asFloat(v); isNumber {
				return f.number(v)
			}
		}
		t = toText(v)
		if f.precision >= 0 {
			t = t.slice(0, t.byteOffset(f.precision))
		}
	case 'r':
		var b builder
		writeRepr(&b, v)
		t = b.text()
	case 'c':
		if n, ok := indexOf(v); ok {
			v = plain(string(rune(n)))
		}
		t = toText(v)
	default:
		if x, isFloat := v.(float64); isFloat && percent && strings.IndexByte("di", f.kind) >= 0 {
			v = toInt(x, args{})
		}
		return f.number(v)
	}
	if f.align == '=' {
		f.align = '>'
	}
	if f.fill == '0' && percent {
		f.fill = ' '
	}
	return pad(t, f.width, f.fill, f.align)
}

func (f spec) number(v Value) Text {
	x, ok := asFloat(v)
	if !ok {
		fail("TypeError", "%%%c format: a real number is required, not %s", f.kind, typeName(v))
	}
	i, integral := asInt(v)
	_, isFloat := v.(float64)
	prec := f.precision
	if prec < 0 {
		prec = 6
	}
	var s string
	switch f.kind {
	case 'd', 'i', 'u', 'x', 'X', 'o', 'b':
		if !integral || isFloat {
			fail("ValueError", "format code '%c' needs an integer", f.kind)
		}
		s = f.integer(i)
	case 'f', 'F':
		s = strconv.FormatFloat(x, 'f', prec, 64)
	case '%':
		s = strconv.FormatFloat(x*100, 'f', prec, 64) + "%"
	case 'e', 'E':
		s = strconv.FormatFloat(x, f.kind, prec, 64)
	case 'g', 'G':
		s = fmt.Sprintf("%.*"+string(f.kind), max(prec, 1), x)
	case 0:
		if s = toText(v).S; f.precision >= 0 && isFloat {
			s = fmt.Sprintf("%.*g", max(f.precision, 1), x)
		}
	default:
		fail("ValueError", "unsupported format character '%c'", f.kind)
	}
	if f.comma {
		s = grouped(s)
	}
	if f.sign != 0 && f.sign != '-' && !strings.HasPrefix(s, "-") {
		s = string(f.sign) + s
	}
	if f.align == '=' {
		n := 0
		if s != "" && strings.IndexByte("+- ", s[0]) >= 0 {
			n = 1
		}
		return concat(plain(s[:n]), pad(plain(s[n:]), f.width-n, f.fill, '>'))
	}
	return pad(plain(s), f.width, f.fill, f.align)
}

func (f spec) integer(i *big.Int) string {
	base, prefix := 10, ""
	switch f.kind {
	case 'x', 'X':
		base, prefix = 16, "0"+string(f.kind)
	case 'o':
		base, prefix = 8, "0o"
	case 'b':
		base, prefix = 2, "0b"
	}
	s := new(big.Int).Abs(i).Text(base)
	if f.kind == 'X' {
		s = strings.ToUpper(s)
	}
	if f.precision > len(s) {
		s = strings.Repeat("0", f.precision-len(s)) + s
	}
	if f.alternate {
		s = prefix + s
	}
	if i.Sign() < 0 {
		s = "-" + s
	}
	return s
}

func grouped(s string) string {
	from := strings.IndexFunc(s, func(r rune) bool { return r >= '0' && r <= '9' })
	end := from
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	for k := end - 3; k > from; k -= 3 {
		s = s[:k] + "," + s[k:]
	}
	return s
}

// formatMethod is Python's text.format(…).
func formatMethod(t Text, a args) Text {
	var b builder
	s, auto := t.S, 0
	for i := 0; i < len(s); {
		k := strings.IndexAny(s[i:], "{}")
		if k < 0 {
			b.add(t.slice(i, len(s)))
			break
		}
		b.add(t.slice(i, i+k))
		i += k
		if i+1 < len(s) && s[i+1] == s[i] {
			b.str(s[i : i+1])
			i += 2
			continue
		}
		end := strings.IndexByte(s[i:], '}')
		if s[i] == '}' || end < 0 {
			fail("ValueError", "Single '%c' encountered in format string", s[i])
		}
		field, format, _ := strings.Cut(s[i+1:i+end], ":")
		field, conversion, _ := strings.Cut(field, "!")
		v := fieldValue(field, &auto, a)
		if conversion == "r" {
			v = spec{kind: 'r', precision: -1}.format(v, false)
		}
		b.add(methodSpec(format, v).format(v, false))
		i += end + 1
	}
	return b.text()
}

// fieldValue resolves `0`, `name`, `name.attr` and `name[key]`.
func fieldValue(field string, auto *int, a args) Value {
	end := strings.IndexAny(field, ".[")
	if end < 0 {
		end = len(field)
	}
	head, rest := field[:end], field[end:]
	n, err := strconv.Atoi(head)
	if head == "" {
		n, err = *auto, nil
		*auto++
	}
	var v Value
	switch {
	case err == nil && n >= 0 && n < len(a.pos):
		v = a.pos[n]
	case err == nil:
		fail("IndexError", "Replacement index %d out of range for positional args tuple", n)
	default:
		ok := false
		if a.kw != nil {
			v, ok = a.kw.str(head)
		}
		if !ok {
			fail("KeyError", "'%s'", head)
		}
	}
	for rest != "" {
		end := len(rest)
		if k := strings.IndexAny(rest[1:], ".["); k >= 0 {
			end = k + 1
		}
		name := strings.Trim(rest[:end], ".[]")
		if i, err := strconv.Atoi(name); err == nil && rest[0] == '[' {
			v = getItem(v, int64(i))
		} else if rest[0] == '[' {
			v = getItem(v, plain(name))
		} else {
			v = getAttr(v, name)
		}
		rest = rest[end:]
	}
	return v
}

func methodSpec(s string, v Value) spec {
	f := spec{fill: ' ', align: '<', precision: -1}
	if _, isNumber := asFloat(v); isNumber {
		f.align = '>'
	}
	r := []rune(s)
	switch {
	case len(r) > 1 && strings.ContainsRune("<>^=", r[1]):
		f.fill, f.align, s = r[0], byte(r[1]), string(r[2:])
	case len(r) > 0 && strings.ContainsRune("<>^=", r[0]):
		f.align, s = byte(r[0]), s[1:]
	}
	i := 0
	if i < len(s) && strings.IndexByte("+- ", s[i]) >= 0 {
		f.sign = s[i]
		i++
	}
	if i < len(s) && s[i] == '#' {
		f.alternate = true
		i++
	}
	if i < len(s) && s[i] == '0' {
		f.fill, f.align = '0', '='
	}
	f.width, i = digits(s, i)
	if i < len(s) && s[i] == ',' {
		f.comma = true
		i++
	}
	if i < len(s) && s[i] == '.' {
		f.precision, i = digits(s, i+1)
	}
	if i < len(s) {
		f.kind = s[i]
	}
	if i+1 < len(s) {
		fail("ValueError", "Invalid format specifier '%s'", s)
	}
	return f
}
