package jinja

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
)

// toText is Python's str(): what `{{ v }}` prints.
func toText(v Value) Text {
	switch v := v.(type) {
	case Text:
		return v
	case *Undefined:
		return Text{}
	}
	var b builder
	writeRepr(&b, v)
	return b.text()
}

// writeRepr is Python's repr().
func writeRepr(b *builder, v Value) {
	if b.depth++; b.depth > maxNesting {
		fail("RecursionError", "maximum recursion depth exceeded")
	}
	defer func() { b.depth-- }()
	switch v := v.(type) {
	case nil:
		b.str("None")
	case bool:
		if v {
			b.str("True")
		} else {
			b.str("False")
		}
	case int64:
		b.str(strconv.FormatInt(v, 10))
	case *big.Int:
		b.str(v.String())
	case float64:
		b.str(floatRepr(v))
	case Text:
		writeTextRepr(b, v)
	case *List:
		open, end := "[", "]"
		if v.tuple {
			open, end = "(", ")"
		}
		b.str(open)
		for i, e := range v.Items {
			if i > 0 {
				b.str(", ")
			}
			writeRepr(b, e)
		}
		if v.tuple && len(v.Items) == 1 {
			b.str(",")
		}
		b.str(end)
	case *Dict:
		b.str("{")
		for i := range v.keys {
			if i > 0 {
				b.str(", ")
			}
			writeRepr(b, v.keys[i])
			b.str(": ")
			writeRepr(b, v.vals[i])
		}
		b.str("}")
	case *Undefined:
		b.str("Undefined")
	case *Namespace:
		b.str("<Namespace ")
		writeRepr(b, v.attrs)
		b.str(">")
	case *callable:
		b.str("<function " + v.name + ">")
	default:
		b.str("<" + typeName(v) + ">")
	}
}

// floatRepr is Python's shortest decimal form of a float.
func floatRepr(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	e := strconv.FormatFloat(f, 'e', -1, 64)
	exp, _ := strconv.Atoi(e[strings.IndexByte(e, 'e')+1:])
	if f != 0 && (exp < -4 || exp >= 16) {
		return e
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func writeTextRepr(b *builder, t Text) {
	quote := '\''
	if strings.Contains(t.S, "'") && !strings.Contains(t.S, `"`) {
		quote = '"'
	}
	b.str(string(quote))
	b.add(t.mapped(func(s string) string {
		var o strings.Builder
		for _, r := range s {
			switch {
			case r == quote || r == '\\':
				o.WriteString("\\" + string(r))
			case r == '\n':
				o.WriteString(`\n`)
			case r == '\r':
				o.WriteString(`\r`)
			case r == '\t':
				o.WriteString(`\t`)
			case unicode.IsPrint(r):
				o.WriteRune(r)
			case r < 0x100:
				fmt.Fprintf(&o, `\x%02x`, r)
			case r < 0x10000:
				fmt.Fprintf(&o, `\u%04x`, r)
			default:
				fmt.Fprintf(&o, `\U%08x`, r)
			}
		}
		return o.String()
	}))
	b.str(string(quote))
}

// dumpOptions are the arguments of Python's json.dumps.
type dumpOptions struct {
	ascii    bool
	sortKeys bool
	indent   *string
	item     string
	key      string
}

// dumps is Python's json.dumps: keys in given order, no HTML escapes.
func dumps(v Value, o dumpOptions) Text {
	var b builder
	o.write(&b, v, 0)
	return b.text()
}

func (o dumpOptions) write(b *builder, v Value, depth int) {
	switch v := v.(type) {
	case nil:
		b.str("null")
	case bool:
		b.str(strconv.FormatBool(v))
	case float64:
		switch s := floatRepr(v); s {
		case "nan":
			b.str("NaN")
		case "inf":
			b.str("Infinity")
		case "-inf":
			b.str("-Infinity")
		default:
			b.str(s)
		}
	case int64, *big.Int:
		writeRepr(b, v)
	case Text:
		o.quote(b, v)
	case *List:
		o.group(b, "[", "]", len(v.Items), depth, func(i int) { o.write(b, v.Items[i], depth+1) })
	case *Dict:
		order := make([]int, len(v.keys))
		for i := range order {
			order[i] = i
		}
		if o.sortKeys {
			sortStable(order, func(i, j int) int { return compare(v.keys[i], v.keys[j], "<") })
		}
		o.group(b, "{", "}", len(order), depth, func(i int) {
			o.quote(b, jsonKey(v.keys[order[i]]))
			b.str(o.key)
			o.write(b, v.vals[order[i]], depth+1)
		})
	default:
		fail("TypeError", "Object of type %s is not JSON serializable", typeName(v))
	}
}

func jsonKey(k Value) Text {
	switch k := k.(type) {
	case Text:
		return k
	case nil, bool, int64, *big.Int, float64:
		return dumps(k, dumpOptions{})
	}
	fail("TypeError", "keys must be str, int, float, bool or None, not %s", typeName(k))
	return Text{}
}

func (o dumpOptions) group(b *builder, open, end string, n, depth int, item func(int)) {
	b.str(open)
	for i := range n {
		if i > 0 {
			b.str(o.item)
		}
		if o.indent != nil {
			b.str("\n" + strings.Repeat(*o.indent, depth+1))
		}
		item(i)
	}
	if n > 0 && o.indent != nil {
		b.str("\n" + strings.Repeat(*o.indent, depth))
	}
	b.str(end)
}

func (o dumpOptions) quote(b *builder, t Text) {
	b.str(`"`)
	b.add(t.mapped(func(s string) string {
		if !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == '"' || r == '\\' || (o.ascii && r > 0x7e) }) {
			return s
		}
		var out strings.Builder
		for _, r := range s {
			switch {
			case r == '"' || r == '\\':
				out.WriteString("\\" + string(r))
			case r == '\n':
				out.WriteString(`\n`)
			case r == '\r':
				out.WriteString(`\r`)
			case r == '\t':
				out.WriteString(`\t`)
			case r == '\f':
				out.WriteString(`\f`)
			case r == '\b':
				out.WriteString(`\b`)
			case r < 0x20 || (o.ascii && r > 0x7e && r < 0x10000):
				fmt.Fprintf(&out, `\u%04x`, r)
			case o.ascii && r >= 0x10000:
				fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff)
			default:
				out.WriteRune(r)
			}
		}
		return out.String()
	}))
	b.str(`"`)
}
