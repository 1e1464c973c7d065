package jinja

import (
	"math"
	"strconv"
	"strings"
)

type filter = func(in *interp, v Value, a args) Value

// applyFilter looks a filter up by name.
func applyFilter(in *interp, name string, v Value, a args) Value {
	f := filterNamed(name)
	if f == nil {
		fail("TemplateAssertionError", "No filter named '%s'.", name)
	}
	return f(in, v, a)
}

func isFilter(name string) bool { return filterNamed(name) != nil }

func filterNamed(name string) filter {
	if f := textFilter(name); f != nil {
		return func(_ *interp, v Value, a args) Value { return f(toText(v), a) }
	}
	if f := sequenceFilter(name); f != nil {
		return f
	}
	switch name {
	case "default", "d":
		return func(_ *interp, v Value, a args) Value {
			_, missing := v.(*Undefined)
			if missing || (a.flag(1, "boolean", false) && !truth(v)) {
				return a.get(0, "default_value", Text{})
			}
			return v
		}
	case "tojson":
		return func(_ *interp, v Value, a args) Value { return dumps(v, jsonOptions(a)) }
	case "string":
		return func(_ *interp, v Value, _ args) Value { return toText(v) }
	case "abs":
		return func(_ *interp, v Value, _ args) Value {
			if v = number1(v, "abs"); compare(v, int64(0), "<") < 0 {
				return arithmetic("-", int64(0), v)
			}
			return v
		}
	case "int":
		return func(_ *interp, v Value, a args) Value { return toInt(v, a) }
	case "float":
		return func(_ *interp, v Value, a args) Value { return toFloat(v, a) }
	case "round":
		return func(_ *interp, v Value, a args) Value { return round(v, a) }
	case "filesizeformat":
		return func(_ *interp, v Value, a args) Value { return fileSize(v, a) }
	case "attr":
		return func(_ *interp, v Value, a args) Value {
			name := toText(a.get(0, "name", nil)).S
			if u, ok := v.(*Undefined); ok {
				u.fail()
			}
			if r, ok := attribute(v, name); ok {
				return r
			}
			return missing(v, name)
		}
	case "xmlattr":
		return func(_ *interp, v Value, _ args) Value { return xmlAttributes(v) }
	case "urlencode":
		return func(_ *interp, v Value, _ args) Value { return urlEncoded(v) }
	}
	return nil
}

// jsonOptions reads the arguments of transformers' tojson.
func jsonOptions(a args) dumpOptions {
	o := dumpOptions{item: ", ", key: ": ", ascii: a.flag(0, "ensure_ascii", false), sortKeys: a.flag(3, "sort_keys", false)}
	switch v := a.get(1, "indent", nil).(type) {
	case nil:
	case Text:
		o.indent = &v.S
	default:
		n, _ := indexOf(v)
		s := strings.Repeat(" ", max(n, 0))
		o.indent = &s
	}
	if o.indent != nil {
		o.item = ","
	}
	if sep := a.get(2, "separators", nil); sep != nil {
		s := iterate(sep)
		if len(s) != 2 {
			fail("ValueError", "separators must be two strings")
		}
		o.item, o.key = toText(s[0]).S, toText(s[1]).S
	}
	return o
}

func toInt(v Value, a args) Value {
	def := a.get(0, "default", int64(0))
	switch v := v.(type) {
	case Text:
		s := strings.ReplaceAll(strings.TrimFunc(v.S, isSpace), "_", "")
		base := a.integer(1, "base", 10)
		if i, err := strconv.ParseInt(strings.TrimPrefix(s, "+"), base, 64); err == nil {
			return i
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return toInt(f, a)
		}
		return def
	case float64:
		if i, ok := asInt(math.Trunc(v)); ok {
			return normInt(i)
		}
		return def
	case *Undefined:
		v.fail()
	}
	if i, ok := asInt(v); ok {
		return normInt(i)
	}
	return def
}

func toFloat(v Value, a args) Value {
	if f, ok := asFloat(v); ok {
		return f
	}
	if t, ok := v.(Text); ok {
		if f, err := strconv.ParseFloat(strings.TrimFunc(t.S, isSpace), 64); err == nil {
			return f
		}
	}
	if u, ok := v.(*Undefined); ok {
		u.fail()
	}
	return a.get(0, "default", 0.0)
}

func round(v Value, a args) Value {
	digits := a.integer(0, "precision", 0)
	x, ok := asFloat(v)
	if !ok {
		number1(v, "round")
	}
	p := math.Pow(10, float64(digits))
	switch method := toText(a.get(1, "method", plain("common"))).S; method {
	case "ceil":
		return math.Ceil(x*p) / p
	case "floor":
		return math.Floor(x*p) / p
	case "common":
	default:
		fail("FilterArgumentError", "method must be common, ceil or floor")
	}
	if _, isFloat := v.(float64); !isFloat && digits >= 0 {
		return v
	}
	if digits < 0 {
		return math.RoundToEven(x*p) / p
	}
	f, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'f', digits, 64), 64)
	return f
}

func fileSize(v Value, a args) Value {
	x, _ := asFloat(toFloat(v, args{}))
	base, units := 1000.0, []string{"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"}
	if a.flag(0, "binary", false) {
		base, units = 1024, []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}
	}
	if x == 1 {
		return plain("1 Byte")
	}
	if x < base {
		return plain(strconv.Itoa(int(x)) + " Bytes")
	}
	unit := base
	for i, u := range units {
		unit *= base
		if x < unit || i == len(units)-1 {
			return plain(strconv.FormatFloat(base*x/unit, 'f', 1, 64) + " " + u)
		}
	}
	return nil
}

func xmlAttributes(v Value) Value {
	d, ok := v.(*Dict)
	if !ok {
		fail("TypeError", "xmlattr needs a mapping, not %s", typeName(v))
	}
	var b builder
	b.safe = true
	for i, k := range d.keys {
		if _, undef := d.vals[i].(*Undefined); undef || d.vals[i] == nil {
			continue
		}
		b.str(" ")
		b.add(escaped(toText(k)))
		b.str(`="`)
		b.add(escaped(toText(d.vals[i])))
		b.str(`"`)
	}
	return b.text()
}

func urlEncoded(v Value) Value {
	quote := func(t Text, keepSlash bool) Text {
		return t.mapped(func(s string) string {
			var b strings.Builder
			for i := range len(s) {
				c := s[i]
				switch {
				case c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("_.-~", c) >= 0 || (c == '/' && keepSlash):
					b.WriteByte(c)
				case c == ' ' && !keepSlash:
					b.WriteByte('+')
				default:
					b.WriteString("%" + strings.ToUpper(strconv.FormatUint(uint64(c)+0x100, 16)[1:]))
				}
			}
			return b.String()
		})
	}
	var pairs []Value
	switch v := v.(type) {
	case *Dict:
		pairs = v.pairs()
	case *List:
		pairs = v.Items
	default:
		return quote(toText(v), true)
	}
	var parts []Text
	for _, p := range pairs {
		kv := iterate(p)
		if len(kv) != 2 {
			fail("ValueError", "urlencode needs pairs")
		}
		parts = append(parts, concat(quote(toText(kv[0]), false), plain("="), quote(toText(kv[1]), false)))
	}
	return joinTexts(plain("&"), parts)
}
