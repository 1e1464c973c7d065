package jinja

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// textFilter returns the filters that work on str(value).
func textFilter(name string) func(Text, args) Value {
	switch name {
	case "trim":
		return func(t Text, a args) Value { return t.trim(cutset(a.get(0, "chars", nil)), true, true) }
	case "upper":
		return func(t Text, _ args) Value { return t.mapped(strings.ToUpper) }
	case "lower":
		return func(t Text, _ args) Value { return t.mapped(strings.ToLower) }
	case "capitalize":
		return func(t Text, _ args) Value { return capitalized(t) }
	case "title":
		return func(t Text, _ args) Value { return titleFilter(t) }
	case "replace":
		return func(t Text, a args) Value {
			return t.replace(toText(a.get(0, "old", nil)), toText(a.get(1, "new", nil)), a.integer(2, "count", -1))
		}
	case "safe":
		return func(t Text, _ args) Value { t.safe = true; return t }
	case "escape", "e":
		return func(t Text, _ args) Value { return escaped(t) }
	case "forceescape":
		return func(t Text, _ args) Value { t.safe = false; return escaped(t) }
	case "striptags":
		return func(t Text, _ args) Value { return stripTags(t) }
	case "format":
		return func(t Text, a args) Value {
			if a.kw != nil {
				return percentFormat(t, a.kw)
			}
			return percentFormat(t, &List{Items: a.pos, tuple: true})
		}
	case "indent":
		return indent
	case "truncate":
		return truncate
	case "wordcount":
		return func(t Text, _ args) Value {
			return int64(len(strings.FieldsFunc(t.S, func(r rune) bool {
				return r != '_' && !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r)
			})))
		}
	case "wordwrap":
		return wordWrap
	case "center":
		return func(t Text, a args) Value { return pad(t, a.integer(0, "width", 80), ' ', '^') }
	}
	return nil
}

func cutset(v Value) *string {
	t, ok := v.(Text)
	if !ok {
		if v != nil {
			fail("TypeError", "strip arg must be None or str")
		}
		return nil
	}
	return &t.S
}

func capitalized(t Text) Text {
	n := t.byteOffset(1)
	return concat(t.slice(0, n).mapped(strings.ToTitle), t.slice(n, len(t.S)).mapped(strings.ToLower))
}

// titleFilter raises the first letter of every word between white space, dashes and open brackets.
func titleFilter(t Text) Text {
	var b builder
	pos := 0
	isBreak := func(r rune) bool { return isSpace(r) || strings.ContainsRune("-({[<", r) }
	for pos < len(t.S) {
		end := strings.IndexFunc(t.S[pos:], isBreak)
		if end != 0 {
			if end < 0 {
				end = len(t.S) - pos
			}
			b.add(capitalized(t.slice(pos, pos+end)))
			pos += end
			continue
		}
		_, n := utf8.DecodeRuneInString(t.S[pos:])
		b.add(t.slice(pos, pos+n))
		pos += n
	}
	return b.text()
}

func stripTags(t Text) Text {
	s := regexp.MustCompile(`(?s)<!--.*?-->|<[^>]*>`).ReplaceAllString(t.S, "")
	out := t.cover(strings.Join(strings.Fields(s), " "))
	return out.mapped(strings.NewReplacer("&lt;", "<", "&gt;", ">", "&#39;", "'", "&#34;", `"`, "&quot;", `"`, "&amp;", "&").Replace)
}

func indent(t Text, a args) Value {
	var by Text
	switch w := a.get(0, "width", int64(4)).(type) {
	case Text:
		by = w
	default:
		n, _ := indexOf(w)
		by = plain(strings.Repeat(" ", max(0, min(n, 1000))))
	}
	lines := concat(t, plain("\n")).lines(false)
	blank := a.flag(2, "blank", false)
	var b builder
	if a.flag(1, "first", false) {
		b.add(by)
	}
	for i, line := range lines {
		if i > 0 {
			b.str("\n")
			if blank || line.S != "" {
				b.add(by)
			}
		}
		b.add(line)
	}
	return b.text()
}

func truncate(t Text, a args) Value {
	length, end := a.integer(0, "length", 255), toText(a.get(2, "end", plain("...")))
	if t.runes() <= length+a.integer(3, "leeway", 5) {
		return t
	}
	cut := t.slice(0, t.byteOffset(max(0, length-end.runes())))
	if !a.flag(1, "killwords", false) {
		cut = cut.split(" ", 1, true)[0]
	}
	return concat(cut, end)
}

// wordWrap breaks lines at white space so that they are at most width long.
func wordWrap(t Text, a args) Value {
	width, long := a.integer(0, "width", 79), a.flag(1, "break_long_words", true)
	sep := toText(a.get(2, "wrapstring", plain("\n")))
	var out []Text
	for _, line := range t.lines(false) {
		rest := line
		for rest.runes() > width {
			limit := rest.byteOffset(width)
			k := strings.LastIndexFunc(rest.S[:min(len(rest.S), rest.byteOffset(width+1))], isSpace)
			if k <= 0 {
				if k = limit; !long {
					n := strings.IndexFunc(rest.S[limit:], isSpace)
					if n < 0 {
						break
					}
					k += n
				}
			}
			out = append(out, rest.slice(0, k).trim(nil, false, true))
			rest = rest.slice(k, len(rest.S)).trim(nil, true, false)
		}
		out = append(out, rest)
	}
	return joinTexts(sep, out)
}

// pad fills t up to width code points; align is one of < > ^.
func pad(t Text, width int, fill rune, align byte) Text {
	n := min(width, maxText) - t.runes()
	if n <= 0 {
		return t
	}
	left := 0
	switch align {
	case '>':
		left = n
	case '^':
		left = n/2 + n&width&1
	}
	return concat(plain(strings.Repeat(string(fill), left)), t, plain(strings.Repeat(string(fill), n-left)))
}
