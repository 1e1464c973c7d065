package world

import (
	"strings"

	"descant/scripts/tinybase/bpe"
)

var (
	copyEnglish = wording{"Copy this: {a}", "Write the same text: {a}", "Say it again: {a}"}
	copyChinese = wording{"抄写：{a}", "照样写一遍：{a}", "再说一次：{a}"}
)

// common are the characters that have a token of their own, letters those that words are spelled with.
var (
	common  = []rune(strings.Join(strings.Fields(bpe.Characters), ""))
	letters = []rune("abcdefghijklmnopqrstuvwxyz")
)

// echo asks to copy or to repeat a few characters, or words of letters, that were drawn by chance.
func (g *Generator) echo(zh bool) Row {
	if g.n(3) == 0 {
		words := make([]string, 1+g.n(3))
		for i := range words {
			words[i] = g.letters()
		}
		return Row{Question: g.ask(pick(zh, copyEnglish, copyChinese), strings.Join(words, " ")), Answer: strings.Join(words, " ")}
	}
	text := make([]rune, 1+g.n(8))
	for i := range text {
		text[i] = common[g.n(len(common))]
	}
	if len(text) <= 3 {
		k := g.n(2)
		return Row{
			Question: g.ask(pick(zh, repeatEnglish[k], repeatChinese[k]), string(text)),
			Answer:   strings.Repeat(string(text)+" ", k+1) + string(text),
		}
	}
	return Row{Question: g.ask(pick(zh, copyEnglish, copyChinese), string(text)), Answer: string(text)}
}

// letters makes up a word, some with a capital.
func (g *Generator) letters() string {
	word := make([]rune, 1+g.n(6))
	for i := range word {
		word[i] = letters[g.n(len(letters))]
	}
	if g.n(3) == 0 {
		return strings.ToUpper(string(word[:1])) + string(word[1:])
	}
	return string(word)
}
