package tokenizer

import (
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"descant/pkg/chat"
)

// AddedToken is a token that is recognised before the text is split into words.
type AddedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Special    bool   `json:"special"`
}

type addedTokens struct {
	byText  map[string]AddedToken
	ids     map[int32]bool
	special map[int32]bool
	first   int32 // the lowest id
	// byFirst lists the tokens that begin with a byte, longest first.
	byFirst [256][]AddedToken
}

func newAddedTokens(list []AddedToken) *addedTokens {
	a := &addedTokens{byText: map[string]AddedToken{}, ids: map[int32]bool{}, special: map[int32]bool{}}
	a.first = math.MaxInt32
	for _, tok := range list {
		if tok.Content == "" {
			continue
		}
		a.byText[tok.Content] = tok
		a.ids[tok.ID] = true
		a.first = min(a.first, tok.ID)
		if tok.Special {
			a.special[tok.ID] = true
		}
		first := &a.byFirst[tok.Content[0]]
		at := 0
		for at < len(*first) && len((*first)[at].Content) >= len(tok.Content) {
			at++
		}
		*first = append((*first)[:at], append([]AddedToken{tok}, (*first)[at:]...)...)
	}
	return a
}

// has says whether an id is that of an added token; most vocabularies hold those behind all others.
func (a *addedTokens) has(id int32) bool { return id >= a.first && a.ids[id] }

// control is an added token found in a text, with the white space that it takes.
type control struct {
	piece
	token AddedToken
}

// find returns the added tokens of a text that lie outside of every origin, leftmost and longest
// first, as the library finds them.
func (a *addedTokens) find(text string, origins []chat.Origin) []control {
	var out []control
	next := 0
	for i := 0; i < len(text); {
		for next < len(origins) && origins[next].End <= i {
			next++
		}
		if next < len(origins) && origins[next].Start <= i {
			i = origins[next].End
			continue
		}
		limit := len(text)
		for _, o := range origins[next:] {
			if o.Start < o.End {
				limit = o.Start
				break
			}
		}
		if c, ok := a.at(text, i, limit); ok {
			if n := len(out); n > 0 && c.start < out[n-1].end {
				c.start = out[n-1].end
			}
			out = append(out, c)
			i = c.end
			continue
		}
		i++
	}
	return out
}

// at finds an added token that begins at i and ends before limit.
func (a *addedTokens) at(text string, i, limit int) (control, bool) {
	for _, tok := range a.byFirst[text[i]] {
		end := i + len(tok.Content)
		if end > limit || text[i:end] != tok.Content {
			continue
		}
		if tok.SingleWord && (wordBefore(text[:i]) || wordAfter(text[end:])) {
			continue
		}
		start := i
		if tok.LStrip {
			start = len(strings.TrimRightFunc(text[:i], unicode.IsSpace))
		}
		if tok.RStrip {
			end = len(text) - len(strings.TrimLeftFunc(text[end:], unicode.IsSpace))
		}
		return control{piece{tok.ID, start, end}, tok}, true
	}
	return control{}, false
}

func wordBefore(s string) bool { r, n := utf8.DecodeLastRuneInString(s); return n > 0 && isWord(r) }

func wordAfter(s string) bool { r, n := utf8.DecodeRuneInString(s); return n > 0 && isWord(r) }

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }
