package dataset

import (
	"strings"
	"unicode"

	"descant/pkg/chat"
)

// LanguageOther is the language of rows whose letters are in no script that is told apart, or that have none.
const LanguageOther = "other"

// maxLooked is how many letters of a row decide on its language.
const maxLooked = 2000

// scripts are the writing systems that stand for one language or a few; the names are those of ISO 639 where a script
// has one language that is by far the most frequent, else that of the script.
var scripts = []struct {
	name  string
	table *unicode.RangeTable
}{
	{"zh", unicode.Han}, {"ja", unicode.Hiragana}, {"ja", unicode.Katakana}, {"ko", unicode.Hangul}, {"latin", unicode.Latin},
	{"cyrillic", unicode.Cyrillic}, {"arabic", unicode.Arabic}, {"he", unicode.Hebrew}, {"el", unicode.Greek},
	{"devanagari", unicode.Devanagari}, {"th", unicode.Thai},
}

// english are frequent words that tell English from other languages in Latin letters.
var english = map[string]bool{"the": true, "and": true, "of": true, "to": true, "is": true, "in": true, "that": true, "for": true,
	"it": true, "with": true, "as": true, "are": true, "this": true, "you": true, "be": true, "what": true, "how": true, "my": true, "your": true, "i": true, "a": true, "an": true, "or": true, "on": true, "not": true, "can": true, "from": true}

// Language guesses the language of a row from its first 2000 letters: zh, ja, ko, en, th, he, el, or the name of the
// script (latin, cyrillic, arabic, devanagari), or "other". A character of Chinese weighs as much as three letters.
func Language(row Row) string {
	counts := map[string]int{}
	left := maxLooked
	var latin strings.Builder
	for _, text := range append(texts(row.Messages), row.Text) {
		for _, r := range text {
			if left == 0 {
				break
			}
			if !unicode.IsLetter(r) {
				latin.WriteByte(' ')
				continue
			}
			left--
			name := script(r)
			if name == "zh" || name == "ko" {
				counts[name] += 2
			}
			counts[name]++
			if name == "latin" {
				latin.WriteRune(unicode.ToLower(r))
			}
		}
		latin.WriteByte(' ')
	}
	// A Japanese text is full of Chinese characters; a Chinese one has no kana.
	if kana := counts["ja"]; kana > 0 && kana*12 >= counts["zh"] {
		counts["ja"] += counts["zh"]
		delete(counts, "zh")
	}
	best := LanguageOther
	for _, s := range scripts {
		if counts[s.name] > counts[best] {
			best = s.name
		}
	}
	if best == "latin" && isEnglish(strings.Fields(latin.String())) {
		return "en"
	}
	return best
}

func texts(messages []chat.Message) (list []string) {
	for _, m := range messages {
		list = append(list, m.Content)
	}
	return list
}

func script(r rune) string {
	if r < unicode.MaxASCII {
		return "latin"
	}
	for _, s := range scripts {
		if unicode.Is(s.table, r) {
			return s.name
		}
	}
	return LanguageOther
}

// isEnglish says whether at least one word in twelve is among the frequent ones; a text in another language has hardly any.
func isEnglish(words []string) bool {
	frequent := 0
	for _, w := range words {
		if english[w] {
			frequent++
		}
	}
	return frequent > 0 && frequent*12 >= len(words)
}
