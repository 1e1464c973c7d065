package tokenizer

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/daulet/tokenizers"
)

// wordLibrary is the library with a pattern and a model that makes a token of every word.
func wordLibrary(t testing.TB, pattern string) *library {
	t.Helper()
	data, err := json.Marshal(map[string]any{
		"version": "1.0", "added_tokens": []any{}, "normalizer": map[string]any{"type": "NFC"},
		"pre_tokenizer": map[string]any{"type": "Split", "pattern": map[string]any{"Regex": pattern}, "behavior": "Isolated", "invert": false},
		"model":         map[string]any{"type": "WordLevel", "vocab": map[string]any{"?": 0}, "unk_token": "?"},
	})
	if err != nil {
		t.Fatal(err)
	}
	native, err := tokenizers.FromBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	l := &library{native: native}
	t.Cleanup(l.close)
	return l
}

// sameWords holds the words of a text against the library's; it says whether the text was taken.
func sameWords(t testing.TB, s splitter, l *library, text string) bool {
	t.Helper()
	if !s.takes(text) {
		return false
	}
	var got []piece
	for i := 0; i < len(text); {
		end := s.word(text, i)
		got = append(got, piece{0, i, end})
		i = end
	}
	if want := l.encode(nil, text, 0); !slices.Equal(got, want) {
		t.Errorf("%+q: the words are %v, the library's %v", text, got, want)
	}
	return true
}

// TestWordsOfEveryCharacter takes every character to the places of the patterns: among letters, digits, signs and spaces, and
// behind an apostrophe. Of the ranges of thousands of like characters it takes some.
func TestWordsOfEveryCharacter(t *testing.T) {
	t.Parallel()
	for pattern, digits := range wordPatterns {
		s, l := splitter{classTable(), digits, true}, wordLibrary(t, pattern)
		taken := 0
		for r := rune(1); r <= utf8.MaxRune && !t.Failed(); r++ {
			if unicode.In(r, unicode.Han, unicode.Hangul, unicode.Co) && r%64 != 0 || !utf8.ValidRune(r) {
				continue
			}
			c := string(r)
			if sameWords(t, s, l, c+"a"+c+c+"1"+c+" "+c+"\n"+c+"."+c+"\n'"+c+"x 'R"+c+"  "+c) {
				taken++
			}
		}
		if taken < 30_000 {
			t.Errorf("%d characters were taken", taken)
		}
	}
}

// TestWordsOfRandomText draws short texts of what the patterns tell apart.
func TestWordsOfRandomText(t *testing.T) {
	t.Parallel()
	alphabet := strings.Split("a|b|S|t|\u017f|ll|ve|RE|d|m|'|'|1|2|\u0663|\u00bd|.|!|\u3002|\u4f60|\u597d|\u0e01\u0e49|\U0001f600|\u200d| | |\t|\n|\r|\r\n|\u00a0|\u3000|\u2028|\v|\u0085", "|")
	for pattern, digits := range wordPatterns {
		s, l := splitter{classTable(), digits, true}, wordLibrary(t, pattern)
		r := rand.New(rand.NewPCG(7, uint64(digits)))
		for range 20_000 {
			var text strings.Builder
			for range 1 + r.IntN(10) {
				text.WriteString(alphabet[r.IntN(len(alphabet))])
			}
			if !sameWords(t, s, l, text.String()) {
				t.Errorf("%+q was not taken", text.String())
			}
			if t.Failed() {
				return
			}
		}
	}
}
