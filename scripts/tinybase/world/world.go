// Package world writes the text of a little bilingual world from a seed: the questions and answers on which
// the tiny base model is trained and the held-out questions with which it is examined. Every sentence comes
// from the grammars and word lists of this package; nothing is read from elsewhere.
//
// A question belongs for ever to one of two sides, training or held-out, by the digest of its key: for sums
// the key is the pair of numbers (a held-out sum is never trained in any wording), for the rest the text of
// the question (a held-out question combines a wording and entities that are trained only apart).
package world

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Category is a kind of question.
type Category string

// The categories. Stories have no single right answer, echoes and spellings are no sentences: they are only trained.
const (
	Greeting   Category = "greeting"
	Arithmetic Category = "arithmetic"
	Fact       Category = "fact"
	Rewriting  Category = "rewriting"
	Format     Category = "format"
	Story      Category = "story"
	Echo       Category = "echo"
	Spelling   Category = "spelling"
)

// Examined lists the categories of the held-out examination.
var Examined = []Category{Greeting, Arithmetic, Fact, Rewriting, Format}

// Row is a question with its only right answer.
type Row struct {
	Category Category `json:"category"`
	Language string   `json:"language"` // "en" or "zh"
	Question string   `json:"question"`
	Answer   string   `json:"answer"`

	key   string // what decides the side; empty: the question itself
	basic bool   // always on the training side
}

// HeldOut reports whether the row belongs to the held-out side (one question in ten).
func (r Row) HeldOut() bool {
	if r.basic || slices.Contains([]Category{Story, Echo, Spelling}, r.Category) {
		return false
	}
	key := r.key
	if key == "" {
		key = r.Question
	}
	sum := sha256.Sum256([]byte(key))
	return binary.BigEndian.Uint64(sum[:])%10 == 0
}

// Generator draws rows; the same seed gives the same rows in the same order.
type Generator struct{ source *rand.PCG }

// New returns a generator for a seed.
func New(seed uint64) *Generator {
	return &Generator{source: rand.NewPCG(seed, 0x6465_7363_616e_74)}
}

// Shares says how many of a hundred training rows each category gets.
type Shares []struct {
	Category Category
	Percent  int
}

// Balanced is the mixture that a training starts with; Hard draws more of what takes longest to learn: copying
// words and calculating. Wide adds characters that no sentence of the world has, and Wider words, so that an
// adapter of other texts finds a base that can tell them apart.
var (
	Balanced = Shares{{Greeting, 9}, {Arithmetic, 28}, {Fact, 17}, {Rewriting, 23}, {Format, 19}, {Story, 4}}
	Hard     = Shares{{Greeting, 7}, {Arithmetic, 29}, {Fact, 12}, {Rewriting, 28}, {Format, 22}, {Story, 2}}
	Wide     = Shares{{Greeting, 6}, {Arithmetic, 24}, {Fact, 12}, {Rewriting, 22}, {Format, 16}, {Story, 2}, {Echo, 18}}
	Wider    = Shares{{Greeting, 8}, {Arithmetic, 24}, {Fact, 13}, {Rewriting, 20}, {Format, 14}, {Story, 2}, {Echo, 6}, {Spelling, 13}}
)

// Train draws one row of the training side.
func (g *Generator) Train(shares Shares) Row {
	n := g.n(100)
	for _, s := range shares {
		if n < s.Percent {
			return g.draw(s.Category, g.language(), false)
		}
		n -= s.Percent
	}
	panic("world: the shares of the categories do not add up to 100")
}

// HeldOut draws n different held-out questions for each examined category and language, in a fixed order.
func (g *Generator) HeldOut(n int) []Row {
	var rows []Row
	for _, category := range Examined {
		for _, language := range []string{"en", "zh"} {
			seen := map[string]bool{}
			for len(seen) < n {
				row := g.draw(category, language, true)
				if !seen[row.Question] {
					seen[row.Question] = true
					rows = append(rows, row)
				}
			}
		}
	}
	return rows
}

// draw repeats a category's grammar until a row of the wanted side comes out.
func (g *Generator) draw(category Category, language string, heldOut bool) Row {
	for {
		row := g.row(category, language)
		row.Category, row.Language = category, language
		if row.HeldOut() == heldOut {
			return row
		}
	}
}

func (g *Generator) row(category Category, language string) Row {
	zh := language == "zh"
	switch category {
	case Greeting:
		return g.greeting(zh)
	case Arithmetic:
		return g.arithmetic(zh)
	case Fact:
		return g.fact(zh)
	case Rewriting:
		return g.rewriting(zh)
	case Format:
		return g.format(zh)
	case Echo:
		return g.echo(zh)
	case Spelling:
		return g.spelling()
	default:
		return g.story(zh)
	}
}

// n returns a number in [0, limit). The modulo is deliberate: it does not change with the Go version.
func (g *Generator) n(limit int) int { return int((g.source.Uint64() >> 11) % uint64(limit)) }

func (g *Generator) language() string {
	if g.n(2) == 0 {
		return "en"
	}
	return "zh"
}

func (g *Generator) name(zh bool) string {
	if zh {
		return chineseNames[g.n(len(chineseNames))]
	}
	return englishNames[g.n(len(englishNames))]
}

// two returns two different names.
func (g *Generator) two(zh bool) (string, string) {
	for {
		if a, b := g.name(zh), g.name(zh); a != b {
			return a, b
		}
	}
}

// noun returns a short noun in the given language.
func (g *Generator) noun(zh bool) string { return nouns[g.n(len(nouns))].in(zh) }

// differentNouns returns count different nouns.
func (g *Generator) differentNouns(zh bool, count int) []string {
	var out []string
	for len(out) < count {
		word, known := g.noun(zh), false
		for _, w := range out {
			known = known || w == word
		}
		if !known {
			out = append(out, word)
		}
	}
	return out
}

// nouns are the words that the rewriting and format questions play with.
var nouns = func() []entry {
	out := append([]entry(nil), words...)
	for _, a := range animals {
		out = append(out, a.name)
	}
	for _, t := range things {
		out = append(out, t.name)
	}
	return out
}()

func (e entry) in(zh bool) string {
	if zh {
		return e.zh
	}
	return e.en
}

// wording is the question texts of one intent; {a}, {b}, {c} … are filled from the arguments in order.
type wording []string

// ask draws one wording and fills its slots.
func (g *Generator) ask(w wording, args ...any) string {
	return fill(w[g.n(len(w))], args...)
}

func fill(text string, args ...any) string {
	for i, arg := range args {
		text = strings.ReplaceAll(text, fmt.Sprintf("{%c}", 'a'+i), fmt.Sprint(arg))
	}
	return text
}

// pick returns the wording of the language.
func pick(zh bool, en, chinese wording) wording {
	if zh {
		return chinese
	}
	return en
}
