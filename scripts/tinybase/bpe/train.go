// Package bpe learns a small byte-level BPE vocabulary for Chinese and English and writes it in the format of
// Hugging Face tokenizers.
//
// Two rules keep the pieces of a word the same wherever it stands, which a small model needs to copy well:
// a Chinese character (and any other character of three bytes) is exactly one token and never grows, and a
// merge never joins a letter to a mark before it. Words of letters, with or without the space before them,
// and runs of marks are learnt by counting pairs, as in any BPE.
package bpe

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Vocabulary is the result: ids are positions in Tokens.
type Vocabulary struct {
	Tokens []string    // in the alphabet of byte-level BPE (space is Ġ)
	Merges [][2]string // by rank, the first is applied first
}

// Trainer counts text and learns the merges.
type Trainer struct {
	words      map[string]int // runs that are learnt by counting, raw text
	characters map[rune]int   // characters of three bytes
}

// NewTrainer returns a trainer that has seen nothing.
func NewTrainer() *Trainer {
	return &Trainer{words: map[string]int{}, characters: map[rune]int{}}
}

// Add counts the words and characters of a text.
func (t *Trainer) Add(text string) {
	for _, run := range runs(text) {
		first, _ := utf8.DecodeRuneInString(run)
		if utf8.RuneLen(first) == 3 {
			t.characters[first]++
			continue
		}
		t.words[run]++
	}
}

// AddCharacters makes sure of characters that the text may lack.
func (t *Trainer) AddCharacters(text string) {
	for _, r := range text {
		if utf8.RuneLen(r) == 3 {
			t.characters[r]++
		}
	}
}

// Learn returns a vocabulary of at most size tokens: 256 bytes, one token for each character of three bytes
// that was added, and merges of counted words while a pair occurs at least least times.
func (t *Trainer) Learn(size, least int) (*Vocabulary, error) {
	v := &Vocabulary{}
	known := map[string]bool{}
	for _, symbol := range byteSymbols {
		v.Tokens = append(v.Tokens, symbol)
		known[symbol] = true
	}
	slices.Sort(v.Tokens)
	merge := func(a, b string) {
		if known[a+b] {
			return
		}
		known[a+b] = true
		v.Tokens = append(v.Tokens, a+b)
		v.Merges = append(v.Merges, [2]string{a, b})
	}
	for _, r := range t.sortedCharacters() {
		b := symbols(string(r))
		merge(b[0], b[1])
		merge(b[0]+b[1], b[2])
	}
	if len(v.Tokens) > size {
		return nil, fmt.Errorf("learn a vocabulary of %d tokens: the characters alone need %d; ask for more tokens", size, len(v.Tokens))
	}
	words := t.splitWords()
	for len(v.Tokens) < size {
		pair, count := mostFrequent(words)
		if count < least {
			break
		}
		merge(pair[0], pair[1])
		for i := range words {
			words[i].join(pair)
		}
	}
	return v, nil
}

func (t *Trainer) sortedCharacters() []rune {
	var out []rune
	for r := range t.characters {
		out = append(out, r)
	}
	slices.Sort(out)
	return out
}

// word is a run as its present pieces.
type word struct {
	pieces []string
	count  int
}

func (t *Trainer) splitWords() []word {
	var texts []string
	for text := range t.words {
		texts = append(texts, text)
	}
	slices.Sort(texts)
	out := make([]word, 0, len(texts))
	for _, text := range texts {
		out = append(out, word{pieces: symbols(text), count: t.words[text]})
	}
	return out
}

// mostFrequent returns the pair with the highest count; ties go to the smaller pair, so that the result does
// not depend on the order of a map.
func mostFrequent(words []word) ([2]string, int) {
	counts := map[[2]string]int{}
	for _, w := range words {
		for i := 0; i+1 < len(w.pieces); i++ {
			counts[[2]string{w.pieces[i], w.pieces[i+1]}] += w.count
		}
	}
	var best [2]string
	top := 0
	for pair, count := range counts {
		if count > top || count == top && less(pair, best) {
			best, top = pair, count
		}
	}
	return best, top
}

func less(a, b [2]string) bool {
	return cmp.Or(strings.Compare(a[0], b[0]), strings.Compare(a[1], b[1])) < 0
}

func (w *word) join(pair [2]string) {
	out := w.pieces[:0]
	for i := 0; i < len(w.pieces); i++ {
		if i+1 < len(w.pieces) && w.pieces[i] == pair[0] && w.pieces[i+1] == pair[1] {
			out = append(out, pair[0]+pair[1])
			i++
			continue
		}
		out = append(out, w.pieces[i])
	}
	w.pieces = out
}

// kind groups runes into runs.
type kind int

const (
	kindLetter kind = iota
	kindMark
	kindDigit
	kindSpace
	kindWide // a character of three bytes stands alone
)

func kindOf(r rune) kind {
	switch {
	case utf8.RuneLen(r) == 3:
		return kindWide
	case unicode.IsLetter(r):
		return kindLetter
	case unicode.IsNumber(r):
		return kindDigit
	case unicode.IsSpace(r):
		return kindSpace
	}
	return kindMark
}

// runs cuts a text into the pieces inside which merges are learnt: words and marks with at most one space
// before them, single wide characters, new lines. Digits and other spaces stay bytes. Each run lies inside
// one piece of Qwen2's split expression, so every learnt merge can be applied.
func runs(text string) []string {
	var out []string
	r := []rune(text)
	for i := 0; i < len(r); {
		start, k := i, kindOf(r[i])
		if r[i] == ' ' && i+1 < len(r) && (kindOf(r[i+1]) == kindLetter || kindOf(r[i+1]) == kindMark) {
			i++
			k = kindOf(r[i])
		}
		i++
		switch k {
		case kindLetter, kindMark:
			for i < len(r) && kindOf(r[i]) == k {
				i++
			}
			out = append(out, string(r[start:i]))
		case kindWide:
			out = append(out, string(r[start:i]))
		}
	}
	return out
}

// byteSymbols is the printable alphabet of byte-level BPE: printable Latin-1 bytes stand for themselves, the
// others for the code points from 256 on, in order.
var byteSymbols = func() (table [256]string) {
	next := 256
	for b := range 256 {
		if b >= '!' && b <= '~' || b >= 0xA1 && b <= 0xAC || b >= 0xAE {
			table[b] = string(rune(b))
			continue
		}
		table[b] = string(rune(next))
		next++
	}
	return table
}()

func symbols(text string) []string {
	out := make([]string, len(text))
	for i := range len(text) {
		out[i] = byteSymbols[text[i]]
	}
	return out
}
