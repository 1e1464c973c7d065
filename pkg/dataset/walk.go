package dataset

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// kind is the type of a JSON value.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

// String is the type as messages name it.
func (k kind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "a list", "an object"}[k]
}

// value is a parsed JSON value.
type value struct {
	kind    kind
	str     string   // decoded text of a string
	items   []value  // of a list
	members []member // of an object, in the order of the file
	raw     []byte   // the bytes of the value; only valid as long as the record
}

type member struct {
	key string
	val value
}

// get is the value of a key, or nil.
func (v *value) get(key string) *value {
	for i := range v.members {
		if v.members[i].key == key {
			return &v.members[i].val
		}
	}
	return nil
}

// keys are the keys of an object for a message: quoted, at most 12.
func (v *value) keys() string {
	const most = 12
	var names []string
	for i, m := range v.members {
		if i == most {
			names = append(names, "…")
			break
		}
		names = append(names, fmt.Sprintf("%q", m.key))
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, ", ")
}

// maxDepth bounds the nesting of a row, and so the stack.
const maxDepth = 256

// syntaxError stops the parsing of a record.
type syntaxError struct {
	offset int // in the record
	code   Code
	found  string
	hint   string
}

func (e *syntaxError) Error() string { return e.found }

// issue is something that a lenient decoder would have hidden; parsing goes on.
type issue struct {
	code  Code
	field string
	found string
	hint  string
}

// walker parses JSON strictly: the grammar of RFC 8259 and nothing else. It also reports what encoding/json lets pass:
// repeated keys and halves of surrogate pairs. Its input must be valid UTF-8.
type walker struct {
	b      []byte
	i      int
	depth  int
	path   []string
	issues []issue
}

const hintPython = "this is Python notation, not JSON: write the rows with json.dumps"

func (w *walker) space() {
	for w.i < len(w.b) {
		switch w.b[w.i] {
		case ' ', '\t', '\n', '\r':
			w.i++
		default:
			return
		}
	}
}

func (w *walker) fail(format string, args ...any) *syntaxError {
	if w.i >= len(w.b) {
		return &syntaxError{offset: len(w.b), code: CodeCut, found: "the JSON ends too early"}
	}
	return &syntaxError{offset: w.i, code: CodeJSON, found: fmt.Sprintf(format, args...) + ", found " + show(w.b[w.i:])}
}

// show is a short excerpt for a message.
func show(b []byte) string {
	const most = 16
	if n := runOf(b, 0); n > 3 {
		return fmt.Sprintf("%d NUL bytes", n)
	}
	text, more := string(b[:min(len(b), 4*most)]), ""
	if r := []rune(text); len(r) > most {
		text, more = string(r[:most]), "…"
	}
	return fmt.Sprintf("%q%s", text, more)
}

func runOf(b []byte, c byte) int {
	n := 0
	for n < len(b) && b[n] == c {
		n++
	}
	return n
}

// value parses one value and leaves the walker behind it.
func (w *walker) value() (value, *syntaxError) {
	w.space()
	if w.i >= len(w.b) {
		return value{}, w.fail("")
	}
	start := w.i
	var v value
	var err *syntaxError
	switch c := w.b[w.i]; {
	case c == '{':
		v, err = w.nested(w.object)
	case c == '[':
		v, err = w.nested(w.list)
	case c == '"':
		v.kind = kindString
		v.str, err = w.text()
	case c == '-' || '0' <= c && c <= '9':
		v.kind = kindNumber
		err = w.number()
	default:
		v, err = w.word()
	}
	v.raw = w.b[start:w.i]
	return v, err
}

func (w *walker) nested(parse func() (value, *syntaxError)) (value, *syntaxError) {
	if w.depth++; w.depth > maxDepth {
		return value{}, &syntaxError{offset: w.i, code: CodeTooDeep,
			found: fmt.Sprintf("the value is nested more than %d levels deep", maxDepth), hint: "remove the nested key"}
	}
	v, err := parse()
	w.depth--
	return v, err
}

// word parses true, false and null, and recognises the words of other languages.
func (w *walker) word() (value, *syntaxError) {
	rest := w.b[w.i:]
	for _, known := range []struct {
		text string
		kind kind
	}{{"true", kindBool}, {"false", kindBool}, {"null", kindNull}} {
		if strings.HasPrefix(string(rest[:min(len(rest), 5)]), known.text) {
			w.i += len(known.text)
			return value{kind: known.kind}, nil
		}
		if len(rest) < len(known.text) && strings.HasPrefix(known.text, string(rest)) {
			w.i = len(w.b)
			return value{}, w.fail("")
		}
	}
	err := w.fail("a JSON value is expected")
	for _, python := range []string{"None", "NaN", "True", "False", "Infinity", "'", "nan", "inf", "b'", "u'"} {
		if strings.HasPrefix(string(rest[:min(len(rest), 8)]), python) {
			err.hint = hintPython
		}
	}
	return value{}, err
}

func (w *walker) digits() int {
	start := w.i
	for w.i < len(w.b) && '0' <= w.b[w.i] && w.b[w.i] <= '9' {
		w.i++
	}
	return w.i - start
}

func (w *walker) peek() byte {
	if w.i < len(w.b) {
		return w.b[w.i]
	}
	return 0
}

func (w *walker) number() *syntaxError {
	if w.peek() == '-' {
		w.i++
	}
	zero := w.peek() == '0'
	if n := w.digits(); n == 0 || zero && n > 1 {
		err := w.fail("a JSON number is expected")
		if w.peek() == 'I' {
			err.hint = hintPython
		}
		return err
	}
	if w.peek() == '.' {
		w.i++
		if w.digits() == 0 {
			return w.fail("a digit is expected")
		}
	}
	if c := w.peek(); c == 'e' || c == 'E' {
		w.i++
		if c := w.peek(); c == '+' || c == '-' {
			w.i++
		}
		if w.digits() == 0 {
			return w.fail("a digit is expected")
		}
	}
	return nil
}

func (w *walker) list() (value, *syntaxError) {
	v := value{kind: kindArray}
	w.i++
	if w.space(); w.peek() == ']' {
		w.i++
		return v, nil
	}
	for {
		w.path = append(w.path, fmt.Sprintf("[%d]", len(v.items)+1))
		item, err := w.value()
		w.path = w.path[:len(w.path)-1]
		if err != nil {
			return v, err
		}
		v.items = append(v.items, item)
		switch w.space(); w.peek() {
		case ',':
			w.i++
		case ']':
			w.i++
			return v, nil
		default:
			return v, w.fail("a comma or the end of the list is expected")
		}
	}
}

func (w *walker) object() (value, *syntaxError) {
	v := value{kind: kindObject}
	w.i++
	if w.space(); w.peek() == '}' {
		w.i++
		return v, nil
	}
	seen := map[string]bool{}
	for {
		if w.space(); w.peek() != '"' {
			err := w.fail("a key in double quotes is expected")
			if w.peek() == '\'' {
				err.hint = hintPython
			}
			return v, err
		}
		key, err := w.text()
		if err != nil {
			return v, err
		}
		if w.space(); w.peek() != ':' {
			return v, w.fail("a colon after the key %q is expected", key)
		}
		w.i++
		w.path = append(w.path, "."+key)
		if seen[key] {
			w.report(CodeDuplicate, fmt.Sprintf("the key %q is there twice", key), "keep one of them")
		}
		seen[key] = true
		val, err := w.value()
		w.path = w.path[:len(w.path)-1]
		if err != nil {
			return v, err
		}
		v.members = append(v.members, member{key, val})
		switch w.space(); w.peek() {
		case ',':
			w.i++
		case '}':
			w.i++
			return v, nil
		default:
			return v, w.fail("a comma or the end of the object is expected")
		}
	}
}

// field is the path of the value that is being parsed, such as "messages[2].content".
func (w *walker) field() string {
	return strings.TrimPrefix(strings.Join(w.path, ""), ".")
}

func (w *walker) report(code Code, found, hint string) {
	w.issues = append(w.issues, issue{code, w.field(), found, hint})
}

// text parses a string and decodes it.
func (w *walker) text() (string, *syntaxError) {
	w.i++
	start := w.i
	var out []byte
	for w.i < len(w.b) {
		switch c := w.b[w.i]; {
		case c == '"':
			s := w.b[start:w.i]
			w.i++
			if out == nil {
				return string(s), nil
			}
			return string(append(out, s...)), nil
		case c < ' ':
			return "", w.fail("a string may not hold a raw control character (write it as an escape)")
		case c == '\\':
			if out == nil {
				out = make([]byte, 0, len(w.b[start:w.i])+64)
			}
			out = append(out, w.b[start:w.i]...)
			var err *syntaxError
			if out, err = w.escape(out); err != nil {
				return "", err
			}
			start = w.i
		default:
			w.i++
		}
	}
	return "", w.fail("")
}

// escape decodes the escape at the walker onto out.
func (w *walker) escape(out []byte) ([]byte, *syntaxError) {
	if w.i++; w.i >= len(w.b) {
		return out, w.fail("")
	}
	c := w.b[w.i]
	if at := strings.IndexByte(`"\/bfnrt`, c); at >= 0 {
		w.i++
		return append(out, "\"\\/\b\f\n\r\t"[at]), nil
	}
	if c != 'u' {
		w.i--
		return out, w.fail("a JSON escape is expected")
	}
	r, err := w.hex()
	if err != nil {
		return out, err
	}
	if !utf16.IsSurrogate(r) {
		return utf8.AppendRune(out, r), nil
	}
	if w.i+1 < len(w.b) && w.b[w.i] == '\\' && w.b[w.i+1] == 'u' {
		before := w.i
		w.i++
		low, err := w.hex()
		if err != nil {
			return out, err
		}
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return utf8.AppendRune(out, pair), nil
		}
		w.i = before
	}
	w.report(CodeSurrogate, fmt.Sprintf(`the escape \u%04x is half of a surrogate pair`, r), "write the whole character")
	return utf8.AppendRune(out, utf8.RuneError), nil
}

// hex reads "uXXXX" at the walker.
func (w *walker) hex() (rune, *syntaxError) {
	w.i++
	var r rune
	for range 4 {
		c := w.peek()
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, w.fail(`four hexadecimal digits after \u are expected`)
		}
		r = r<<4 | rune(c)
		w.i++
	}
	return r, nil
}
