package jinja

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kinds of tokens; operators have their own text as kind.
const (
	tokData  = "data"
	tokName  = "name"
	tokText  = "string"
	tokNum   = "number"
	tokBegin = "block begin"
	tokEnd   = "block end"
	tokOpen  = "print begin"
	tokClose = "print end"
	tokEOF   = "end of template"
)

type token struct {
	kind string
	text string
	line int
}

// lexer splits a template into tokens with trim_blocks and lstrip_blocks on.
type lexer struct {
	src  string
	pos  int
	line int
	out  []token
	// lineStart says whether the text at pos begins a line (nothing but removed text before it).
	lineStart bool
	rawBegin  *regexp.Regexp
	rawEnd    *regexp.Regexp
}

func lex(src string) []token {
	src = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(src)
	src = strings.TrimSuffix(src, "\n")
	l := &lexer{
		src: src, line: 1, lineStart: true,
		rawBegin: regexp.MustCompile(`^\{%[-+]?\s*raw\s*(?:-%\}\s*|%\})`),
		rawEnd:   regexp.MustCompile(`(?s)^(.*?)\{%([-+]?)\s*endraw\s*(?:\+%\}|-%\}\s*|%\}\n?)`),
	}
	for l.pos < len(l.src) {
		l.root()
	}
	return append(l.out, token{tokEOF, "", l.line})
}

// root reads text up to the next tag, and the tag.
func (l *lexer) root() {
	rest := l.src[l.pos:]
	k := nextTag(rest)
	if k < 0 {
		l.data(rest)
		l.advance(len(rest))
		return
	}
	open := rest[k : k+2]
	sign := byte(0)
	if k+2 < len(rest) {
		sign = rest[k+2]
	}
	text := rest[:k]
	switch {
	case sign == '-':
		text = strings.TrimRightFunc(text, isSpace)
	case sign != '+' && open != "{{":
		text = l.leftStripped(text)
	}
	l.data(text)
	l.advance(k)
	switch {
	case open == "{#":
		l.comment()
	case open == "{{":
		l.tag(tokOpen, tokClose, sign)
	case l.rawBegin.MatchString(l.src[l.pos:]):
		l.raw()
	default:
		l.tag(tokBegin, tokEnd, sign)
	}
}

// nextTag returns where the next `{%`, `{{` or `{#` begins, -1 where none does.
func nextTag(s string) int {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == '{' && (s[i+1] == '%' || s[i+1] == '{' || s[i+1] == '#') {
			return i
		}
	}
	return -1
}

// leftStripped removes the white space between the start of the line and a block.
func (l *lexer) leftStripped(text string) string {
	at := strings.LastIndexByte(text, '\n') + 1
	if (at > 0 || l.lineStart) && strings.TrimFunc(text[at:], isSpace) == "" {
		return text[:at]
	}
	return text
}

func (l *lexer) data(s string) {
	if s != "" {
		l.out = append(l.out, token{tokData, s, l.line})
	}
}

func (l *lexer) advance(n int) {
	if n == 0 {
		return
	}
	s := l.src[l.pos : l.pos+n]
	l.line += strings.Count(s, "\n")
	l.lineStart = s[len(s)-1] == '\n'
	l.pos += n
}

// comment skips `{# … #}`.
func (l *lexer) comment() {
	rest := l.src[l.pos:]
	k := strings.Index(rest[2:], "#}")
	if k < 0 {
		l.fail("Missing end of comment tag")
	}
	k += 2
	end := k + 2
	switch {
	case rest[k-1] == '-' && k > 2:
		end += spaces(rest[end:])
	case rest[k-1] == '+' && k > 2:
	case end < len(rest) && rest[end] == '\n':
		end++
	}
	l.advance(end)
}

func (l *lexer) raw() {
	l.advance(len(l.rawBegin.FindString(l.src[l.pos:])))
	rest := l.src[l.pos:]
	m := l.rawEnd.FindStringSubmatch(rest)
	if m == nil {
		l.fail("Missing end of raw directive")
	}
	text := m[1]
	switch m[2] {
	case "-":
		text = strings.TrimRightFunc(text, isSpace)
	case "":
		text = l.leftStripped(text)
	}
	l.data(text)
	l.advance(len(m[0]))
}

// tag reads the tokens of a block or a print tag.
func (l *lexer) tag(begin, end string, sign byte) {
	l.out = append(l.out, token{begin, "", l.line})
	n := 2
	if sign == '-' || (sign == '+' && begin == tokBegin) {
		n = 3
	}
	l.advance(n)
	var open []byte
	for {
		l.advance(spaces(l.src[l.pos:]))
		rest := l.src[l.pos:]
		if rest == "" {
			l.fail("unexpected end of template inside a tag")
		}
		if len(open) == 0 {
			if n := tagEnd(rest, begin == tokBegin); n > 0 {
				l.out = append(l.out, token{end, "", l.line})
				l.advance(n)
				return
			}
		}
		t := l.token(rest)
		switch t.kind {
		case "(", "[", "{":
			open = append(open, t.kind[0])
		case ")", "]", "}":
			want := map[string]byte{")": '(', "]": '[', "}": '{'}[t.kind]
			if len(open) == 0 || open[len(open)-1] != want {
				l.fail("unexpected '" + t.kind + "'")
			}
			open = open[:len(open)-1]
		}
		l.out = append(l.out, t)
	}
}

// tagEnd returns the length of the end of a tag with the white space that it removes.
func tagEnd(s string, block bool) int {
	mark := "}}"
	if block {
		mark = "%}"
	}
	switch {
	case strings.HasPrefix(s, "-"+mark):
		return 3 + spaces(s[3:])
	case block && strings.HasPrefix(s, "+"+mark):
		return 3
	case block && strings.HasPrefix(s, mark+"\n"):
		return 3
	case strings.HasPrefix(s, mark):
		return 2
	}
	return 0
}

func spaces(s string) int { return len(s) - len(strings.TrimLeftFunc(s, isSpace)) }

// token reads one token and moves past it.
func (l *lexer) token(s string) token {
	line := l.line
	c, _ := utf8.DecodeRuneInString(s)
	n := 0
	kind := ""
	switch {
	case c >= '0' && c <= '9':
		n, kind = numberLength(s, l.pos > 0 && l.src[l.pos-1] == '.'), tokNum
	case c == '_' || unicode.IsLetter(c):
		n = strings.IndexFunc(s, func(r rune) bool {
			return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r)
		})
		if n < 0 {
			n = len(s)
		}
		kind = tokName
	case c == '\'' || c == '"':
		return l.quoted(s, byte(c), line)
	default:
		for _, op := range []string{"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"} {
			if strings.HasPrefix(s, op) {
				n, kind = len(op), op
				break
			}
		}
	}
	if n == 0 {
		l.fail("unexpected char " + strconv.QuoteRune(c))
	}
	l.advance(n)
	return token{kind, s[:n], line}
}

// numberLength measures a number; after a dot (`x.0.1`) only digits count.
func numberLength(s string, afterDot bool) int {
	digits := func(i int) int {
		for i < len(s) && (s[i] >= '0' && s[i] <= '9' || (s[i] == '_' && i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9')) {
			i++
		}
		return i
	}
	if len(s) > 2 && s[0] == '0' && strings.ContainsRune("xXoObB", rune(s[1])) {
		i := 2
		for i < len(s) && (s[i] == '_' || strings.ContainsRune("0123456789abcdefABCDEF", rune(s[i]))) {
			i++
		}
		return i
	}
	i := digits(0)
	if afterDot {
		return i
	}
	if i+1 < len(s) && s[i] == '.' && s[i+1] >= '0' && s[i+1] <= '9' {
		i = digits(i + 1)
	}
	if i+1 < len(s) && (s[i] == 'e' || s[i] == 'E') {
		j := i + 1
		if s[j] == '+' || s[j] == '-' {
			j++
		}
		if k := digits(j); k > j {
			i = k
		}
	}
	return i
}

func (l *lexer) quoted(s string, q byte, line int) token {
	i := 1
	for i < len(s) && s[i] != q {
		if s[i] == '\\' {
			i++
		}
		i++
	}
	if i >= len(s) {
		l.fail("unterminated string")
	}
	l.advance(i + 1)
	return token{tokText, unescape(s[1:i]), line}
}

// unescape resolves Python's escapes; unknown ones stay as they are.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	simple := map[byte]string{'n': "\n", 't': "\t", 'r': "\r", '\\': "\\", '\'': "'", '"': `"`, 'a': "\a", 'b': "\b", 'f': "\f", 'v': "\v", '\n': ""}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if r, ok := simple[s[i]]; ok {
			b.WriteString(r)
			continue
		}
		n, base := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i]], 16
		from := i + 1
		if s[i] >= '0' && s[i] <= '7' {
			from, base = i, 8
			for n = 1; n < 3 && i+n < len(s) && s[i+n] >= '0' && s[i+n] <= '7'; n++ {
			}
		}
		if n > 0 && from+n <= len(s) {
			if v, err := strconv.ParseUint(s[from:from+n], base, 32); err == nil {
				b.WriteRune(rune(v))
				i = from + n - 1
				continue
			}
		}
		b.WriteByte('\\')
		b.WriteByte(s[i])
	}
	return b.String()
}

func (l *lexer) fail(msg string) {
	panic(&Error{Type: "TemplateSyntaxError", Message: msg, Line: l.line})
}
