package world

import "fmt"

func (g *Generator) fact(zh bool) Row {
	switch n := g.n(20); {
	case n < 4:
		return g.geography(zh)
	case n < 7:
		return g.aboutAnimal(zh)
	case n < 10:
		return g.aboutThing(zh)
	case n < 12:
		return g.opposite(zh)
	case n < 17:
		return g.translation(zh)
	default:
		return g.calendar(zh)
	}
}

var (
	capitalEnglish   = wording{"What is the capital of {a}?", "Which city is the capital of {a}?", "Tell me the capital of {a}.", "Name the capital of {a}.", "Do you know the capital of {a}?", "{a}'s capital is which city?"}
	capitalChinese   = wording{"{a}的首都是哪里？", "{a}的首都是什么？", "{a}首都是哪座城市？", "请告诉我{a}的首都。", "你知道{a}的首都吗？", "哪座城市是{a}的首都？"}
	capitalOfEnglish = wording{"{b} is the capital of which country?", "Which country has the capital {b}?", "Of which country is {b} the capital?", "In which country is the capital {b}?"}
	capitalOfChinese = wording{"{b}是哪个国家的首都？", "哪个国家的首都是{b}？", "首都{b}属于哪个国家？", "以{b}为首都的国家是哪个？"}
	continentEnglish = wording{"On which continent is {a}?", "Where is {a}?", "Which continent is {a} on?", "{a} lies on which continent?", "Tell me the continent of {a}."}
	continentChinese = wording{"{a}在哪个洲？", "{a}在哪里？", "{a}属于哪个洲？", "{a}位于哪个大洲？", "请告诉我{a}在哪个洲。"}
)

func (g *Generator) geography(zh bool) Row {
	c := countries[g.n(len(countries))]
	a, b, where := c.name.in(zh), c.capital.in(zh), c.continent.in(zh)
	capital := "The capital of {a} is {b}."
	lies := "{a} is in {c}."
	if zh {
		capital, lies = "{a}的首都是{b}。", "{a}在{c}。"
	}
	switch g.n(5) {
	case 0, 1:
		return Row{Question: g.ask(pick(zh, capitalEnglish, capitalChinese), a), Answer: fill(capital, a, b)}
	case 2, 3:
		return Row{Question: g.ask(pick(zh, capitalOfEnglish, capitalOfChinese), a, b), Answer: fill(capital, a, b)}
	default:
		return Row{Question: g.ask(pick(zh, continentEnglish, continentChinese), a), Answer: fill(lies, a, b, where)}
	}
}

var (
	voiceEnglish = wording{"What does {a} say?", "Which sound does {a} make?", "What sound does {a} make?", "How does {a} sound?", "Imitate {a}."}
	voiceChinese = wording{"{a}怎么叫？", "{a}的叫声是什么？", "{a}是怎么叫的？", "学一下{a}的叫声。", "{a}会发出什么声音？"}
	kindEnglish  = wording{"What kind of animal is {a}?", "Which class of animals does {a} belong to?", "{a} is what kind of animal?", "Tell me what kind of animal {a} is."}
	kindChinese  = wording{"{a}是什么动物？", "{a}属于哪类动物？", "{a}是哪一类动物？", "请告诉我{a}是什么动物。"}
	legsEnglish  = wording{"How many legs does {a} have?", "How many legs has {a}?", "Count the legs of {a}.", "Tell me how many legs {a} has."}
	legsChinese  = wording{"{a}有几条腿？", "{a}有多少条腿？", "数一数{a}的腿。", "请告诉我{a}有几条腿。"}
)

func (g *Generator) aboutAnimal(zh bool) Row {
	a := animals[g.n(len(animals))]
	name := a.name.zh
	if !zh {
		name = article(a.name.en)
	}
	switch g.n(3) {
	case 0:
		answer := fmt.Sprintf("A %s says %s.", a.name.en, a.voice.en)
		if zh {
			answer = a.name.zh + "的叫声是" + a.voice.zh + "。"
		}
		return Row{Question: g.ask(pick(zh, voiceEnglish, voiceChinese), name), Answer: answer}
	case 1:
		answer := fmt.Sprintf("A %s is %s.", a.name.en, article(a.kind.en))
		if zh {
			answer = a.name.zh + "是" + a.kind.zh + "。"
		}
		return Row{Question: g.ask(pick(zh, kindEnglish, kindChinese), name), Answer: answer}
	default:
		answer := fmt.Sprintf("A %s has %d legs.", a.name.en, a.legs)
		if zh {
			answer = fmt.Sprintf("%s有%d条腿。", a.name.zh, a.legs)
		}
		return Row{Question: g.ask(pick(zh, legsEnglish, legsChinese), name), Answer: answer}
	}
}

var (
	colourEnglish = wording{"What colour is {a}?", "Which colour does {a} have?", "Tell me the colour of {a}.", "What is the colour of {a}?", "Name the colour of {a}."}
	colourChinese = wording{"{a}是什么颜色？", "{a}是什么颜色的？", "{a}的颜色是什么？", "请说出{a}的颜色。", "你知道{a}是什么颜色吗？"}
	sortEnglish   = wording{"What is {a}?", "What kind of thing is {a}?", "Is {a} a fruit, a vegetable or a drink?", "Tell me what {a} is."}
	sortChinese   = wording{"{a}是什么？", "{a}是什么东西？", "{a}是水果、蔬菜还是饮料？", "请告诉我{a}是什么。"}
)

func (g *Generator) aboutThing(zh bool) Row {
	t := things[g.n(len(things))]
	name, subject := t.name.zh, t.name.zh
	if !zh {
		name = article(t.name.en)
		if uncountable[t.name.en] || t.kind == nature {
			name = "the " + t.name.en
		}
		subject = "The " + t.name.en
	}
	if g.n(2) == 0 {
		answer := subject + " is " + t.colour.en + "."
		if zh {
			answer = subject + "是" + t.colour.zh + "的。"
		}
		return Row{Question: g.ask(pick(zh, colourEnglish, colourChinese), name), Answer: answer}
	}
	answer := subject + " is a " + t.kind.en + "."
	if zh {
		answer = subject + "是一种" + t.kind.zh + "。"
	}
	return Row{Question: g.ask(pick(zh, sortEnglish, sortChinese), name), Answer: answer}
}

var (
	oppositeEnglish = wording{"What is the opposite of {a}?", "Tell me the opposite of {a}.", "Which word is the opposite of {a}?", "Give the opposite of the word {a}.", "What is the contrary of {a}?"}
	oppositeChinese = wording{"“{a}”的反义词是什么？", "{a}的反义词是什么？", "请说出“{a}”的反义词。", "和“{a}”相反的词是什么？", "{a}的反面是什么？"}
)

func (g *Generator) opposite(zh bool) Row {
	pair := opposites[g.n(len(opposites))]
	a, b := pair.a.in(zh), pair.b.in(zh)
	if g.n(2) == 0 {
		a, b = b, a
	}
	answer := "The opposite of " + a + " is " + b + "."
	if zh {
		answer = a + "的反义词是" + b + "。"
	}
	return Row{Question: g.ask(pick(zh, oppositeEnglish, oppositeChinese), a), Answer: answer}
}

var (
	toChineseByEnglish = wording{"How do you say {a} in Chinese?", "What is {a} in Chinese?", "Translate {a} into Chinese.", "What is the Chinese word for {a}?", "Translate into Chinese: {a}"}
	toEnglishByEnglish = wording{"How do you say {b} in English?", "What is {b} in English?", "Translate {b} into English.", "What does {b} mean?", "Translate into English: {b}"}
	toEnglishByChinese = wording{"“{b}”用英语怎么说？", "{b}的英文是什么？", "把“{b}”翻译成英文。", "请翻译成英文：{b}", "{b}的英语单词是什么？"}
	toChineseByChinese = wording{"{a} 是什么意思？", "{a} 用中文怎么说？", "把 {a} 翻译成中文。", "请翻译成中文：{a}", "英语单词 {a} 的中文是什么？"}
)

func (g *Generator) translation(zh bool) Row {
	w := nouns[g.n(len(nouns))]
	if g.n(2) == 0 {
		return Row{Question: g.ask(pick(zh, toChineseByEnglish, toChineseByChinese), w.en, w.zh), Answer: w.zh}
	}
	return Row{Question: g.ask(pick(zh, toEnglishByEnglish, toEnglishByChinese), w.en, w.zh), Answer: w.en}
}

var (
	dayAfterEnglish   = wording{"Which day comes after {a}?", "What day is it after {a}?", "Today is {a}. What day is tomorrow?", "What is the day after {a}?"}
	dayAfterChinese   = wording{"{a}的后一天是星期几？", "今天是{a}，明天是星期几？", "{a}过后是星期几？", "{a}的第二天是星期几？"}
	dayBeforeEnglish  = wording{"Which day comes before {a}?", "Today is {a}. What day was yesterday?", "What is the day before {a}?"}
	dayBeforeChinese  = wording{"{a}的前一天是星期几？", "今天是{a}，昨天是星期几？", "{a}之前是星期几？"}
	monthAfterEnglish = wording{"Which month comes after {a}?", "What is the month after {a}?", "This month is {a}. What is the next month?"}
	monthAfterChinese = wording{"{a}的下一个月是几月？", "这个月是{a}，下个月是几月？", "{a}过后是几月？"}
	seasonEnglish     = wording{"Which season is {a} in?", "In which season is {a}?", "{a} belongs to which season?", "Tell me the season of {a}."}
	seasonChinese     = wording{"{a}是什么季节？", "{a}属于哪个季节？", "{a}在哪个季节？", "请告诉我{a}是什么季节。"}
)

func (g *Generator) calendar(zh bool) Row {
	stop := "."
	if zh {
		stop = "。"
	}
	day, month := g.n(7), g.n(12)
	switch g.n(4) {
	case 0:
		return Row{Question: g.ask(pick(zh, dayAfterEnglish, dayAfterChinese), weekdays[day].in(zh)), Answer: weekdays[(day+1)%7].in(zh) + stop}
	case 1:
		return Row{Question: g.ask(pick(zh, dayBeforeEnglish, dayBeforeChinese), weekdays[day].in(zh)), Answer: weekdays[(day+6)%7].in(zh) + stop}
	case 2:
		return Row{Question: g.ask(pick(zh, monthAfterEnglish, monthAfterChinese), months[month].in(zh)), Answer: months[(month+1)%12].in(zh) + stop}
	default:
		m := months[month].in(zh)
		answer := m + " is in " + seasonOfMonth[month].en + stop
		if zh {
			answer = m + "是" + seasonOfMonth[month].zh + stop
		}
		return Row{Question: g.ask(pick(zh, seasonEnglish, seasonChinese), m), Answer: answer}
	}
}
