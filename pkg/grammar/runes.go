package grammar

import (
	"fmt"
	"unicode"
	"unicode/utf8"
)

// runeSet is a set of characters as ranges: low, high, low, high …, ascending, as regexp/syntax has them.
type runeSet []rune

// runes is the part of one character of a set, in UTF-8. Large sets become a rule of their own that is made once.
func (b *builder) runes(set runeSet) part {
	var sequences [][]byteRange
	for i := 0; i < len(set); i += 2 {
		sequences = append(sequences, utf8Sequences(set[i], set[i+1])...)
	}
	if len(sequences) <= 2 {
		return b.byteSequences(sequences)
	}
	key := fmt.Sprint(set)
	rule, made := b.sets[key]
	if !made {
		rule = b.net.define(b.byteSequences(sequences))
		b.sets[key] = rule
	}
	return b.net.call(rule)
}

// byteSequences is a choice between sequences of ranges of bytes. An empty list is what nothing matches.
func (b *builder) byteSequences(sequences [][]byteRange) part {
	p := part{b.net.add(), b.net.add()}
	for _, sequence := range sequences {
		at := p.from
		for i, r := range sequence {
			to := p.to
			if i < len(sequence)-1 {
				to = b.net.add()
			}
			b.net.bytes(at, r.low, r.high, to)
			at = to
		}
	}
	return p
}

type byteRange struct{ low, high byte }

// utf8Sequences are the sequences of byte ranges that are the UTF-8 of the characters low to high; surrogates, which
// have none, are left out. The range is cut where the encoding gets longer, and where the bytes behind the first do not
// go through all their values (Russ Cox, "Regular Expression Matching in the Wild", 2010).
func utf8Sequences(low, high rune) [][]byteRange {
	const firstSurrogate, lastSurrogate = 0xD800, 0xDFFF
	if low <= lastSurrogate && high >= firstSurrogate {
		return append(utf8Sequences(low, firstSurrogate-1), utf8Sequences(lastSurrogate+1, high)...)
	}
	high = min(high, unicode.MaxRune)
	if low > high {
		return nil
	}
	cut := func(at rune) [][]byteRange { return append(utf8Sequences(low, at), utf8Sequences(at+1, high)...) }
	for _, longest := range []rune{0x7F, 0x7FF, 0xFFFF} {
		if low <= longest && high > longest {
			return cut(longest)
		}
	}
	if high > 0x7F {
		for bits := 6; bits <= 18; bits += 6 {
			mask := rune(1)<<bits - 1
			if low&^mask == high&^mask {
				continue
			}
			if low&mask != 0 {
				return cut(low | mask)
			}
			if high&mask != mask {
				return cut(high&^mask - 1)
			}
		}
	}
	first, last := utf8.AppendRune(nil, low), utf8.AppendRune(nil, high)
	sequence := make([]byteRange, len(first))
	for i := range first {
		sequence[i] = byteRange{first[i], last[i]}
	}
	return [][]byteRange{sequence}
}

// inString is the part of one character of a set inside a JSON string: as it is, or escaped where JSON wants that.
func (b *builder) inString(set runeSet) part {
	var plain runeSet
	var parts []part
	keep := func(low, high rune) {
		if low <= high {
			plain = append(plain, low, high)
		}
	}
	for i := 0; i < len(set); i += 2 {
		low, high := set[i], set[i+1]
		for r := low; r <= high && r <= '\\'; r++ {
			if r >= ' ' && r != '"' && r != '\\' {
				continue
			}
			keep(low, r-1)
			low = r + 1
			parts = append(parts, b.net.literal(escape(r)))
		}
		keep(low, high)
	}
	if len(plain) > 0 {
		parts = append(parts, b.runes(plain))
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return b.net.either(parts...)
}

// escape is a character as JSON writes it where it may not stand as it is.
func escape(r rune) string {
	switch r {
	case '"', '\\':
		return `\` + string(r)
	case '\b':
		return `\b`
	case '\f':
		return `\f`
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	}
	return fmt.Sprintf(`\u%04x`, r)
}
