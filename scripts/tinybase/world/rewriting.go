package world

import (
	"slices"
	"strings"
)

func (g *Generator) rewriting(zh bool) Row {
	switch n := g.n(10); {
	case n < 2:
		return g.reverseWords(zh)
	case n < 4:
		return g.replaceWord(zh)
	case n < 5:
		return g.repeatWord(zh)
	case n < 6:
		return g.oneOfWords(zh)
	case n < 8 && !zh:
		return g.changeCase()
	default:
		return g.changeSentence(zh)
	}
}

var (
	reverseEnglish = wording{"Reverse the words: {a}", "Reverse the order of the words: {a}", "Write the words backwards: {a}", "Put these words in reverse order: {a}"}
	reverseChinese = wording{"把词语倒过来：{a}", "把下面的词语倒序排列：{a}", "请把这些词反过来写：{a}", "倒着写这些词：{a}"}
)

func (g *Generator) reverseWords(zh bool) Row {
	list := g.differentNouns(zh, 2+g.n(3))
	question := g.ask(pick(zh, reverseEnglish, reverseChinese), strings.Join(list, " "))
	slices.Reverse(list)
	return Row{Question: question, Answer: strings.Join(list, " ")}
}

var (
	replaceEnglish = wording{"Replace {a} with {b}: {c}", "Replace the word {a} by {b}: {c}", "Change {a} to {b}: {c}", "Write {b} instead of {a}: {c}"}
	replaceChinese = wording{"把“{a}”换成“{b}”：{c}", "请将“{a}”替换为“{b}”：{c}", "用“{b}”代替“{a}”：{c}", "把句子里的“{a}”改成“{b}”：{c}"}
)

// replaceWord replaces a noun in a sentence; the new noun is not in the sentence.
func (g *Generator) replaceWord(zh bool) Row {
	list, name := g.differentNouns(zh, 3), g.name(zh)
	for ambiguous(append(list, name)) {
		list = g.differentNouns(zh, 3)
	}
	frame := g.ask(pick(zh,
		wording{"{a} sees the {b} and the {c}.", "the {b} is near the {c}.", "{a} has a {b} and a {c}.", "I like the {b} and the {c}."},
		wording{"{a}看见了{b}和{c}。", "{b}在{c}的旁边。", "{a}有{b}，也有{c}。", "我喜欢{b}和{c}。"}),
		name, "{b}", list[0])
	if g.n(2) == 0 { // the replaced word is the second noun in half of the rows
		frame = strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(frame, list[0], "{x}"), "{b}", list[0]), "{x}", "{b}")
	}
	before := strings.ReplaceAll(frame, "{b}", list[1])
	after := strings.ReplaceAll(frame, "{b}", list[2])
	return Row{Question: g.ask(pick(zh, replaceEnglish, replaceChinese), list[1], list[2], before), Answer: after}
}

// ambiguous reports whether one of the words lies inside another (山 in 黄山): replacing it would have two readings.
func ambiguous(list []string) bool {
	for i, a := range list {
		for j, b := range list {
			if i != j && strings.Contains(b, a) {
				return true
			}
		}
	}
	return false
}

var (
	repeatEnglish = []wording{{"Say {a} twice.", "Write {a} two times.", "Repeat {a} two times."}, {"Say {a} three times.", "Write {a} three times.", "Repeat the word {a} three times."}}
	repeatChinese = []wording{{"把“{a}”说两遍。", "写两遍“{a}”。", "重复两次：{a}"}, {"把“{a}”说三遍。", "写三遍“{a}”。", "重复三次：{a}"}}
)

func (g *Generator) repeatWord(zh bool) Row {
	k, word := g.n(2), g.noun(zh)
	return Row{
		Question: g.ask(pick(zh, repeatEnglish[k], repeatChinese[k]), word),
		Answer:   strings.Join(slices.Repeat([]string{word}, k+2), " "),
	}
}

var (
	firstEnglish = wording{"What is the first word? {a}", "Give the first word of: {a}", "Which word comes first? {a}"}
	firstChinese = wording{"第一个词是什么？{a}", "请写出第一个词：{a}", "哪个词排在最前面？{a}"}
	lastEnglish  = wording{"What is the last word? {a}", "Give the last word of: {a}", "Which word comes last? {a}"}
	lastChinese  = wording{"最后一个词是什么？{a}", "请写出最后一个词：{a}", "哪个词排在最后面？{a}"}
)

func (g *Generator) oneOfWords(zh bool) Row {
	list := g.differentNouns(zh, 3+g.n(2))
	text := strings.Join(list, " ")
	if g.n(2) == 0 {
		return Row{Question: g.ask(pick(zh, firstEnglish, firstChinese), text), Answer: list[0]}
	}
	return Row{Question: g.ask(pick(zh, lastEnglish, lastChinese), text), Answer: list[len(list)-1]}
}

var (
	upperEnglish = wording{"Write in capital letters: {a}", "Convert to upper case: {a}", "Change to capitals: {a}", "Make this upper case: {a}"}
	lowerEnglish = wording{"Write in small letters: {a}", "Convert to lower case: {a}", "Change to small letters: {a}", "Make this lower case: {a}"}
)

// changeCase has no Chinese counterpart.
func (g *Generator) changeCase() Row {
	text := strings.Join(g.differentNouns(false, 1+g.n(3)), " ")
	if g.n(2) == 0 {
		return Row{Question: g.ask(upperEnglish, text), Answer: strings.ToUpper(text)}
	}
	return Row{Question: g.ask(lowerEnglish, strings.ToUpper(text)), Answer: text}
}

var (
	pastEnglish     = wording{"Put into the past: {a}", "Write in the past tense: {a}", "Change to the past tense: {a}"}
	negateEnglish   = wording{"Make it negative: {a}", "Negate the sentence: {a}", "Write the negative form: {a}"}
	questionEnglish = wording{"Make a question: {a}", "Turn into a question: {a}", "Change the sentence to a question: {a}"}
	politeEnglish   = wording{"Say it politely: {a}", "Make it polite: {a}", "Write this as a polite request: {a}"}
	negateChinese   = wording{"改成否定句：{a}", "把这句话变成否定：{a}", "请写出否定形式：{a}"}
	questionChinese = wording{"改成疑问句：{a}", "把这句话变成问题：{a}", "请改写成问句：{a}"}
	politeChinese   = wording{"说得礼貌一点：{a}", "改写得更客气：{a}", "请改成礼貌的请求：{a}"}
	doneChinese     = wording{"改成过去的事：{a}", "请用“昨天”改写：{a}", "改写成昨天发生的事：{a}"}
)

func (g *Generator) changeSentence(zh bool) Row {
	v := verbs[g.n(len(verbs))]
	who, what := g.name(zh), v.objects[g.n(len(v.objects))].in(zh)
	form := g.n(4)
	if zh {
		plain := who + v.zh + what + "。"
		switch form {
		case 0:
			return Row{Question: g.ask(negateChinese, plain), Answer: who + "没有" + v.zh + what + "。"}
		case 1:
			return Row{Question: g.ask(questionChinese, plain), Answer: who + v.zh + what + "吗？"}
		case 2:
			order := v.zh + what + "。"
			return Row{Question: g.ask(politeChinese, order), Answer: "请" + v.zh + what + "，谢谢。"}
		default:
			return Row{Question: g.ask(doneChinese, plain), Answer: "昨天" + who + v.zh + "了" + what + "。"}
		}
	}
	plain := who + " " + v.third + " " + what + "."
	switch form {
	case 0:
		return Row{Question: g.ask(negateEnglish, plain), Answer: who + " does not " + v.base + " " + what + "."}
	case 1:
		return Row{Question: g.ask(questionEnglish, plain), Answer: "Does " + who + " " + v.base + " " + what + "?"}
	case 2:
		order := strings.ToUpper(v.base[:1]) + v.base[1:] + " " + what + "."
		return Row{Question: g.ask(politeEnglish, order), Answer: "Please " + v.base + " " + what + ", thank you."}
	default:
		return Row{Question: g.ask(pastEnglish, plain), Answer: who + " " + v.past + " " + what + "."}
	}
}
