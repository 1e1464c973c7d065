package world

import "strings"

var (
	storyEnglish = wording{"Tell me a story about {a}.", "Write a short story about {a} and {b}.", "Tell a story with {a} and {b}."}
	storyChinese = wording{"讲一个关于{a}的故事。", "写一个{a}和{b}的小故事。", "请讲讲{a}和{b}的故事。"}

	storyOpenEnglish = wording{"One {d} day, {a} went to the {c}.", "In {d}, {a} lived near the {c}.", "Every {d}, {a} walked along the {c}."}
	storyMidEnglish  = wording{"There {a} saw a {c} and was very happy.", "{a} found {e} and gave it to {b}.", "Then {b} came, and they {f} together.", "The {c} was beautiful, so {a} stayed for a while.", "{a} was tired, but {b} helped."}
	storyEndEnglish  = wording{"In the end they went home together.", "Since that day, {a} and {b} have been good friends.", "That night {a} slept very well.", "\"What a good day!\" said {b}."}
	storyOpenChinese = wording{"{d}的一天，{a}来到{c}边。", "从前，{a}住在{c}附近。", "每到{d}，{a}都会去看{c}。"}
	storyMidChinese  = wording{"在那里，{a}看见了{c}，心里非常高兴。", "{a}找到了{e}，把它送给了{b}。", "后来{b}也来了，他们一起{f}。", "{c}真美，{a}停下来看了很久。", "{a}有点累，{b}帮了他一把。"}
	storyEndChinese  = wording{"最后，他们一起回家了。", "从那天起，{a}和{b}成了好朋友。", "那天晚上，{a}睡得很香。", "“今天真开心！”{b}说。"}
	describeEnglish  = wording{"Describe {a}.", "Tell me about {a}.", "What do you know about {a}?"}
	describeChinese  = wording{"描述一下{a}。", "说说{a}。", "关于{a}，你知道什么？"}

	places  = []entry{{"river", "小河"}, {"mountain", "山"}, {"sea", "大海"}, {"village", "村庄"}, {"school", "学校"}, {"forest", "树林"}, {"lake", "湖"}, {"garden", "花园"}}
	seasons = []entry{{"spring", "春天"}, {"summer", "夏天"}, {"autumn", "秋天"}, {"winter", "冬天"}}
	doings  = []entry{{"sang a song", "唱了一首歌"}, {"drank tea", "喝了一杯茶"}, {"played a game", "做了一个游戏"}, {"drew a tree", "画了一棵树"}, {"read a book", "读了一本书"}}
	finds   = []entry{{"a red hat", "一顶红帽子"}, {"an old book", "一本旧书"}, {"a small bag", "一个小包"}, {"a white flower", "一朵白花"}, {"a new pen", "一支新笔"}}
)

// story writes free text: it gives the model sentences to continue and is never examined.
func (g *Generator) story(zh bool) Row {
	if g.n(3) == 0 {
		return g.description(zh)
	}
	a, b := g.two(zh)
	args := func() []any {
		return []any{a, b, places[g.n(len(places))].in(zh), seasons[g.n(len(seasons))].in(zh), finds[g.n(len(finds))].in(zh), doings[g.n(len(doings))].in(zh)}
	}
	sentences := []string{g.ask(pick(zh, storyOpenEnglish, storyOpenChinese), args()...)}
	for range 1 + g.n(2) {
		sentences = append(sentences, g.ask(pick(zh, storyMidEnglish, storyMidChinese), args()...))
	}
	sentences = append(sentences, g.ask(pick(zh, storyEndEnglish, storyEndChinese), args()...))
	separator := " "
	if zh {
		separator = ""
	}
	return Row{Question: g.ask(pick(zh, storyEnglish, storyChinese), a, b), Answer: strings.Join(sentences, separator)}
}

// description puts the facts about a country, an animal or a thing into a few sentences.
func (g *Generator) description(zh bool) Row {
	switch g.n(3) {
	case 0:
		c := countries[g.n(len(countries))]
		text := fill("{a} is a country in {c}. Its capital is {b}.", c.name.en, c.capital.en, c.continent.en)
		if zh {
			text = fill("{a}是{c}的一个国家。它的首都是{b}。", c.name.zh, c.capital.zh, c.continent.zh)
		}
		return Row{Question: g.ask(pick(zh, describeEnglish, describeChinese), c.name.in(zh)), Answer: text}
	case 1:
		a := animals[g.n(len(animals))]
		text := fill("A {a} is a kind of {b}. It has {d} legs and says {c}.", a.name.en, a.kind.en, a.voice.en, a.legs)
		if zh {
			text = fill("{a}是一种{b}。它有{d}条腿，叫声是{c}。", a.name.zh, a.kind.zh, a.voice.zh, a.legs)
		}
		return Row{Question: g.ask(pick(zh, describeEnglish, describeChinese), entry{"the " + a.name.en, a.name.zh}.in(zh)), Answer: text}
	default:
		t := things[g.n(len(things))]
		text := fill("The {a} is a {b}. Its colour is {c}.", t.name.en, t.kind.en, t.colour.en)
		if zh {
			text = fill("{a}是一种{b}。它的颜色是{c}。", t.name.zh, t.kind.zh, t.colour.zh)
		}
		return Row{Question: g.ask(pick(zh, describeEnglish, describeChinese), entry{"the " + t.name.en, t.name.zh}.in(zh)), Answer: text}
	}
}
