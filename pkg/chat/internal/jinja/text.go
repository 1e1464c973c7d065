package jinja

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kinds of marks besides an index of a message (which is 0 or greater).
const (
	// SourceOther marks text from tools and further variables.
	SourceOther = -1
	// SourceGeneration marks the output of a generation block.
	SourceGeneration = -2
)

// Mark says where the bytes [Start, End) of a text come from: Source is the index of a message,
// SourceOther, or SourceGeneration. Bytes without a mark were written by the template. A mark of an
// empty value is kept with Start == End.
type Mark struct {
	Start, End int
	Source     int
}

// Text is a string that remembers which of its bytes came from outside the template. Every
// operation of the engine carries the marks along, so provenance never depends on searching.
type Text struct {
	S     string
	Marks []Mark
	// safe is Python's Markup: adding plain text to it escapes that text for HTML.
	safe bool
}

func plain(s string) Text { return Text{S: s} }

// slice returns the bytes [i, j) with the marks clipped to them.
func (t Text) slice(i, j int) Text {
	out := Text{S: t.S[i:j], safe: t.safe}
	for _, m := range t.Marks {
		a, b := max(m.Start, i), min(m.End, j)
		if a < b || (i == j && m.Start <= i && i <= m.End) {
			if a > b {
				b = a
			}
			out.Marks = append(out.Marks, Mark{a - i, b - i, m.Source})
		}
	}
	return out
}

// cover returns a text of s whose every byte has the sources of t: for operations that do not keep
// a correspondence of positions.
func (t Text) cover(s string) Text {
	out := Text{S: s, safe: t.safe}
	for _, m := range t.Marks {
		if m.Source != SourceGeneration && !slices.ContainsFunc(out.Marks, func(o Mark) bool { return o.Source == m.Source }) {
			out.Marks = append(out.Marks, Mark{0, len(s), m.Source})
		}
	}
	return out
}

// mapped applies f to every stretch between the edges of marks, which keeps positions exact for
// functions that work letter by letter.
func (t Text) mapped(f func(string) string) Text {
	if len(t.Marks) == 0 {
		return Text{S: f(t.S), safe: t.safe}
	}
	edges := []int{0, len(t.S)}
	for _, m := range t.Marks {
		edges = append(edges, m.Start, m.End)
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	at := make(map[int]int, len(edges))
	var b strings.Builder
	for k, e := range edges {
		if k > 0 {
			b.WriteString(f(t.S[edges[k-1]:e]))
		}
		at[e] = b.Len()
	}
	out := Text{S: b.String(), safe: t.safe}
	for _, m := range t.Marks {
		out.Marks = append(out.Marks, Mark{at[m.Start], at[m.End], m.Source})
	}
	return out
}

func (t Text) runes() int { return utf8.RuneCountInString(t.S) }

// byteOffset returns the byte offset of the n-th code point.
func (t Text) byteOffset(n int) int {
	if n <= 0 {
		return 0
	}
	for i := range t.S {
		if n == 0 {
			return i
		}
		n--
	}
	return len(t.S)
}

// trim removes the code points of cutset (white space where nil) from the chosen sides.
func (t Text) trim(cutset *string, left, right bool) Text {
	drop := isSpace
	if cutset != nil {
		drop = func(r rune) bool { return strings.ContainsRune(*cutset, r) }
	}
	i, j := 0, len(t.S)
	if left {
		i = len(t.S) - len(strings.TrimLeftFunc(t.S, drop))
	}
	if right {
		j = max(i, len(strings.TrimRightFunc(t.S, drop)))
	}
	return t.slice(i, j)
}

// replace replaces up to n occurrences of old (all where n < 0).
func (t Text) replace(old, new Text, n int) Text {
	if n == 0 {
		return t
	}
	var b builder
	b.safe = t.safe
	pos, done := 0, 0
	if old.S == "" {
		for i := range t.S {
			if n >= 0 && done == n {
				break
			}
			b.add(t.slice(pos, i))
			b.add(new)
			pos, done = i, done+1
		}
		b.add(t.slice(pos, len(t.S)))
		if n < 0 || done < n {
			b.add(new)
		}
		return b.text()
	}
	for n < 0 || done < n {
		k := strings.Index(t.S[pos:], old.S)
		if k < 0 {
			break
		}
		b.add(t.slice(pos, pos+k))
		b.add(new)
		pos, done = pos+k+len(old.S), done+1
	}
	if pos == 0 {
		return t
	}
	b.add(t.slice(pos, len(t.S)))
	return b.text()
}

// split splits at sep, at most n times (always where n < 0), from the right where fromRight.
func (t Text) split(sep string, n int, fromRight bool) []Text {
	var out []Text
	if fromRight {
		end := len(t.S)
		for n != 0 {
			k := strings.LastIndex(t.S[:end], sep)
			if k < 0 {
				break
			}
			out = append(out, t.slice(k+len(sep), end))
			end = k
			n--
		}
		out = append(out, t.slice(0, end))
		slices.Reverse(out)
		return out
	}
	pos := 0
	for n != 0 {
		k := strings.Index(t.S[pos:], sep)
		if k < 0 {
			break
		}
		out = append(out, t.slice(pos, pos+k))
		pos += k + len(sep)
		n--
	}
	return append(out, t.slice(pos, len(t.S)))
}

// fields splits at runs of white space as Python's str.split() without arguments.
func (t Text) fields(n int, fromRight bool) []Text {
	var out []Text
	rest := t.trim(nil, !fromRight, fromRight)
	for rest.S != "" {
		if n == 0 {
			out = append(out, rest.trim(nil, fromRight, !fromRight))
			break
		}
		n--
		if fromRight {
			k := strings.LastIndexFunc(rest.S, isSpace)
			if k >= 0 {
				_, size := utf8.DecodeRuneInString(rest.S[k:])
				k += size
			} else {
				k = 0
			}
			out = append(out, rest.slice(k, len(rest.S)))
			rest = rest.slice(0, k).trim(nil, false, true)
			continue
		}
		k := strings.IndexFunc(rest.S, isSpace)
		if k < 0 {
			k = len(rest.S)
		}
		out = append(out, rest.slice(0, k))
		rest = rest.slice(k, len(rest.S)).trim(nil, true, false)
	}
	if fromRight {
		slices.Reverse(out)
	}
	return out
}

// lines is Python's str.splitlines().
func (t Text) lines(keepEnds bool) []Text {
	var out []Text
	pos := 0
	for i := 0; i < len(t.S); {
		r, size := utf8.DecodeRuneInString(t.S[i:])
		if !isLineBreak(r) {
			i += size
			continue
		}
		end := i
		i += size
		if r == '\r' && i < len(t.S) && t.S[i] == '\n' {
			i++
		}
		if keepEnds {
			end = i
		}
		out = append(out, t.slice(pos, end))
		pos = i
	}
	if pos < len(t.S) {
		out = append(out, t.slice(pos, len(t.S)))
	}
	return out
}

func isLineBreak(r rune) bool {
	switch r {
	case '\n', '\r', '\v', '\f', 0x1c, 0x1d, 0x1e, 0x85, 0x2028, 0x2029:
		return true
	}
	return false
}

// isSpace is Python's str.isspace for one character.
func isSpace(r rune) bool { return unicode.IsSpace(r) || (r >= 0x1c && r <= 0x1f) }

// builder puts texts together.
type builder struct {
	b     strings.Builder
	marks []Mark
	safe  bool
	depth int // of nested values being written
}

func (b *builder) add(t Text) {
	n := b.b.Len()
	if n+len(t.S) > maxOutput {
		fail("MemoryError", "a text of more than %d bytes", maxOutput)
	}
	for _, m := range t.Marks {
		b.marks = append(b.marks, Mark{m.Start + n, m.End + n, m.Source})
	}
	b.b.WriteString(t.S)
}

func (b *builder) str(s string) { b.b.WriteString(s) }

func (b *builder) text() Text { return Text{S: b.b.String(), Marks: b.marks, safe: b.safe} }

func concat(parts ...Text) Text {
	var b builder
	for _, p := range parts {
		b.add(p)
	}
	return b.text()
}

var htmlEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&#39;", `"`, "&#34;")

// escaped is markupsafe.escape: a text that is safe already stays as it is.
func escaped(t Text) Text {
	if !t.safe {
		t = t.mapped(htmlEscapes.Replace)
		t.safe = true
	}
	return t
}
