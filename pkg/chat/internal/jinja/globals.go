package jinja

import (
	"fmt"
	"strings"
	"time"
)

// maxRange is the longest range() of Jinja's sandbox.
const maxRange = 100000

// globals returns a scope with the functions that transformers gives to templates.
func globals() *scope {
	s := &scope{}
	def := func(name string, f func(*interp, args) Value) { s.set(name, &callable{name, f}) }
	def("range", func(_ *interp, a args) Value { return rangeOf(a) })
	def("namespace", func(_ *interp, a args) Value { return &Namespace{dictOf(a)} })
	def("dict", func(_ *interp, a args) Value { return dictOf(a) })
	def("raise_exception", func(_ *interp, a args) Value {
		panic(&Error{Type: "TemplateError", Message: toText(a.get(0, "message", nil)).S})
	})
	def("strftime_now", func(in *interp, a args) Value {
		return plain(strftime(in.now, toText(a.get(0, "format", nil)).S))
	})
	def("cycler", func(_ *interp, a args) Value {
		if len(a.pos) == 0 {
			fail("RuntimeError", "at least one item has to be provided")
		}
		return &cycler{items: a.pos}
	})
	def("joiner", func(_ *interp, a args) Value {
		sep, used := toText(a.get(0, "sep", plain(", "))), false
		return &callable{"joiner", func(*interp, args) Value {
			if !used {
				used = true
				return Text{}
			}
			return sep
		}}
	})
	return s
}

func dictOf(a args) *Dict {
	d := NewDict()
	for _, p := range a.pos {
		if src, ok := p.(*Dict); ok {
			for i, k := range src.keys {
				d.Set(k, src.vals[i])
			}
			continue
		}
		for _, pair := range iterate(p) {
			kv := iterate(pair)
			if len(kv) != 2 {
				fail("ValueError", "dictionary update sequence element has length %d; 2 is required", len(kv))
			}
			d.Set(kv[0], kv[1])
		}
	}
	if a.kw != nil {
		for i, k := range a.kw.keys {
			d.Set(k, a.kw.vals[i])
		}
	}
	return d
}

func rangeOf(a args) Value {
	v := [3]int{0, 0, 1}
	if len(a.pos) < 1 || len(a.pos) > 3 {
		fail("TypeError", "range expected 1 to 3 arguments, got %d", len(a.pos))
	}
	for i, p := range a.pos {
		n, ok := indexOf(p)
		if !ok {
			if u, isU := p.(*Undefined); isU {
				u.fail()
			}
			fail("TypeError", "'%s' object cannot be interpreted as an integer", typeName(p))
		}
		v[i] = n
	}
	if len(a.pos) == 1 {
		v[0], v[1] = 0, v[0]
	}
	if v[2] == 0 {
		fail("ValueError", "range() arg 3 must not be zero")
	}
	out := &List{}
	for i := v[0]; (v[2] > 0 && i < v[1]) || (v[2] < 0 && i > v[1]); i += v[2] {
		if len(out.Items) == maxRange {
			fail("OverflowError", "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", maxRange)
		}
		out.Items = append(out.Items, int64(i))
	}
	return out
}

// get returns the i-th argument, or the keyword argument of that name, or def.
func (a args) get(i int, name string, def Value) Value {
	if i >= 0 && i < len(a.pos) {
		return a.pos[i]
	}
	if a.kw != nil {
		if v, ok := a.kw.str(name); ok {
			return v
		}
	}
	return def
}

func (a args) integer(i int, name string, def int) int {
	v := a.get(i, name, nil)
	if v == nil {
		return def
	}
	n, ok := indexOf(v)
	if !ok {
		fail("TypeError", "argument '%s' must be an integer, not %s", name, typeName(v))
	}
	return n
}

func (a args) flag(i int, name string, def bool) bool { return truth(a.get(i, name, def)) }

type cycler struct {
	items []Value
	at    int
}

func (c *cycler) attr(name string) (Value, bool) {
	switch name {
	case "current":
		return c.items[c.at], true
	case "next":
		return &callable{name, func(*interp, args) Value {
			v := c.items[c.at]
			c.at = (c.at + 1) % len(c.items)
			return v
		}}, true
	case "reset":
		return &callable{name, func(*interp, args) Value { c.at = 0; return nil }}, true
	}
	return nil, false
}

// strftime formats t as C's strftime in the C locale; `%-d` leaves out padding.
func strftime(t time.Time, format string) string {
	layouts := map[byte]string{
		'a': "Mon", 'A': "Monday", 'b': "Jan", 'h': "Jan", 'B': "January", 'c': "Mon Jan _2 15:04:05 2006",
		'd': "02", 'D': "01/02/06", 'e': "_2", 'F': "2006-01-02", 'H': "15", 'I': "03", 'm': "01", 'M': "04",
		'p': "PM", 'R': "15:04", 'S': "05", 'T': "15:04:05", 'x': "01/02/06", 'X': "15:04:05", 'y': "06",
		'Y': "2006", 'z': "-0700", 'Z': "MST", 'r': "03:04:05 PM",
	}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		bare := format[i] == '-' && i+1 < len(format)
		if bare {
			i++
		}
		var s string
		switch c := format[i]; c {
		case '%':
			s = "%"
		case 'n':
			s = "\n"
		case 't':
			s = "\t"
		case 'j':
			s = fmt.Sprintf("%03d", t.YearDay())
		case 'f':
			s = fmt.Sprintf("%06d", t.Nanosecond()/1000)
		case 'u':
			s = fmt.Sprint((int(t.Weekday())+6)%7 + 1)
		case 'w':
			s = fmt.Sprint(int(t.Weekday()))
		case 's':
			s = fmt.Sprint(t.Unix())
		case 'C':
			s = fmt.Sprintf("%02d", t.Year()/100)
		case 'U':
			s = fmt.Sprintf("%02d", (t.YearDay()+6-int(t.Weekday()))/7)
		case 'W':
			s = fmt.Sprintf("%02d", (t.YearDay()+6-(int(t.Weekday())+6)%7)/7)
		case 'V', 'G':
			y, w := t.ISOWeek()
			if s = fmt.Sprintf("%02d", w); c == 'G' {
				s = fmt.Sprint(y)
			}
		default:
			if s = "%" + string(c); layouts[c] != "" {
				s = t.Format(layouts[c])
			}
		}
		if bare && len(s) > 1 {
			s = strings.TrimLeft(s[:len(s)-1], "0 ") + s[len(s)-1:]
		}
		b.WriteString(s)
	}
	return b.String()
}
