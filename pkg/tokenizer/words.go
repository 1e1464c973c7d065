package tokenizer

import (
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// wordPatterns are the regular expressions that words can be found by without an engine, and the most digits that they
// put into one word: those of Qwen2 to Qwen3, and of Llama 3 and GPT-4.
var wordPatterns = map[string]int{
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`:      1,
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`: 3,
}

// runeClass is what the patterns ask of a character.
type runeClass uint8

const (
	classOther runeClass = iota
	classLetter
	classNumber
	classSpace
	classLineEnd // a space, too

	classOnly = 7
	// unsettled is added where the character alone does not say that the text is in the form NFC.
	unsettled = 8
	// unassigned is added to what the tables of Go do not know: the library's may be newer.
	unassigned = 16
)

// classTable holds the classes of the first two planes, which nearly all text is of.
var classTable = sync.OnceValue(func() *[1 << 17]runeClass {
	var table [1 << 17]runeClass
	for r := range table {
		table[r] = findClass(rune(r))
	}
	return &table
})

func findClass(r rune) runeClass {
	var c runeClass
	switch {
	case r == '\r' || r == '\n':
		c = classLineEnd
	case unicode.IsLetter(r):
		c = classLetter
	case unicode.IsNumber(r):
		c = classNumber
	case unicode.IsSpace(r):
		c = classSpace
	case !unicode.In(r, unicode.M, unicode.P, unicode.S, unicode.Z, unicode.Cc, unicode.Cf, unicode.Co):
		return unassigned
	}
	if r < utf8.RuneSelf {
		return c
	}
	text := string(r)
	if p := norm.NFC.PropertiesString(text); !p.BoundaryBefore() || !norm.NFC.IsNormalString(text) {
		c |= unsettled
	}
	return c
}

// splitter cuts text into the words of one of wordPatterns.
type splitter struct {
	classes *[1 << 17]runeClass
	digits  int
	// nfc says that the normalizer is NFC; otherwise there is none.
	nfc bool
}

func (s *splitter) class(r rune) runeClass {
	if int(r) < len(s.classes) {
		return s.classes[r]
	}
	return findClass(r)
}

// at is the class of the character at i, and where it ends.
func (s *splitter) at(text string, i int) (runeClass, int) {
	if c := text[i]; c < utf8.RuneSelf {
		return s.classes[c] & classOnly, i + 1
	}
	r, n := utf8.DecodeRuneInString(text[i:])
	return s.class(r) & classOnly, i + n
}

// takes says whether a text can be cut here: the normalizer leaves it as it is, and all its characters are known.
func (s *splitter) takes(text string) bool {
	var all runeClass
	for i := 0; i < len(text); i++ {
		if text[i] < utf8.RuneSelf {
			continue
		}
		r, n := utf8.DecodeRuneInString(text[i:])
		all |= s.class(r)
		i += n - 1
	}
	if all&unassigned != 0 {
		return false
	}
	return !s.nfc || all&unsettled == 0 || norm.NFC.IsNormalString(text)
}

// word is the end of the word that begins at i. The comments give the part of the pattern.
func (s *splitter) word(text string, i int) int {
	if text[i] == '\'' {
		if n := contraction(text[i+1:]); n > 0 { // (?i:'s|'t|'re|'ve|'m|'ll|'d)
			return i + 1 + n
		}
	}
	class, end := s.at(text, i)
	switch class {
	case classLetter: // \p{L}+
		return s.run(text, end, classLetter)
	case classNumber: // \p{N}{1,3}
		for n := 1; n < s.digits && end < len(text); n++ {
			next, after := s.at(text, end)
			if next != classNumber {
				break
			}
			end = after
		}
		return end
	case classLineEnd:
		return s.spaces(text, i)
	}
	next, after := classLineEnd, end // for the end of the text
	if end < len(text) {
		next, after = s.at(text, end)
	}
	switch {
	case next == classLetter: // [^\r\n\p{L}\p{N}]?\p{L}+
		return s.run(text, after, classLetter)
	case class == classOther, text[i] == ' ' && next == classOther: //  ?[^\s\p{L}\p{N}]+[\r\n]*
		end = s.run(text, end, classOther)
		for end < len(text) && (text[end] == '\r' || text[end] == '\n') {
			end++
		}
		return end
	}
	return s.spaces(text, i)
}

// run is the end of the characters of a class at i.
func (s *splitter) run(text string, i int, class runeClass) int {
	for i < len(text) {
		c, end := s.at(text, i)
		if c != class {
			break
		}
		i = end
	}
	return i
}

// spaces is the end of the word of white space at i: \s*[\r\n]+|\s+(?!\S)|\s+.
func (s *splitter) spaces(text string, i int) int {
	lineEnd, last, end := 0, i, i
	for end < len(text) {
		c, after := s.at(text, end)
		if c != classSpace && c != classLineEnd {
			break
		}
		if c == classLineEnd {
			lineEnd = after
		}
		last, end = end, after
	}
	switch {
	case lineEnd > 0:
		return lineEnd
	case end < len(text) && last > i: // the last one goes with the word behind it
		return last
	}
	return end
}

// contraction is the length of s, t, re, ve, m, ll or d at the start of a text, in any case; 0 for none. The long s is an s,
// as Unicode folds it.
func contraction(text string) int {
	const lower = 'a' - 'A'
	if text == "" {
		return 0
	}
	switch text[0] | lower {
	case 's', 't', 'm', 'd':
		return 1
	}
	if len(text) == 1 {
		return 0
	}
	switch [2]byte{text[0] | lower, text[1] | lower} {
	case [2]byte{'r', 'e'}, [2]byte{'v', 'e'}, [2]byte{'l', 'l'}:
		return 2
	}
	if strings.HasPrefix(text, "\u017f") {
		return 2
	}
	return 0
}
