package world

import "fmt"

var (
	addEnglish = wording{"What is {a} + {b}?", "{a} + {b} = ?", "{a}+{b}=?", "What is {a} plus {b}?", "Add {a} and {b}.", "Calculate {a} + {b}.", "How much is {a} plus {b}?", "What is the sum of {a} and {b}?", "{c} has {a} {d} and buys {b} more. How many are there now?", "There are {a} {d}. Then {b} more come. How many are there?"}
	addChinese = wording{"{a} + {b} 等于多少？", "{a}+{b}=?", "{a}加{b}等于多少？", "计算 {a} + {b}。", "请算一算{a}加{b}。", "{a}与{b}的和是多少？", "{a} 加 {b} 是几？", "{c}有{a}个{d}，又买了{b}个，现在有几个？", "有{a}个{d}，又来了{b}个，一共有几个？"}
	subEnglish = wording{"What is {a} - {b}?", "{a} - {b} = ?", "{a}-{b}=?", "What is {a} minus {b}?", "Subtract {b} from {a}.", "Calculate {a} - {b}.", "How much is {a} minus {b}?", "{c} has {a} {d} and loses {b} of them. How many are left?", "There are {a} {d}. {b} go away. How many are left?"}
	subChinese = wording{"{a} - {b} 等于多少？", "{a}-{b}=?", "{a}减{b}等于多少？", "计算 {a} - {b}。", "请算一算{a}减{b}。", "{a}与{b}的差是多少？", "{a} 减 {b} 是几？", "{c}有{a}个{d}，送走了{b}个，还剩几个？", "有{a}个{d}，拿走{b}个，还剩几个？"}
	mulEnglish = wording{"What is {a} times {b}?", "{a} * {b} = ?", "{a}*{b}=?", "Multiply {a} by {b}.", "Calculate {a} * {b}.", "How much is {a} times {b}?", "{c} has {a} boxes with {b} {d} each. How many are there?"}
	mulChinese = wording{"{a} * {b} 等于多少？", "{a}*{b}=?", "{a}乘{b}等于多少？", "{a}乘以{b}是多少？", "计算 {a} * {b}。", "请算一算{a}乘{b}。", "{c}有{a}个盒子，每个盒子里有{b}个{d}，一共有几个？"}

	largerEnglish  = wording{"Which is larger, {a} or {b}?", "Which number is bigger: {a} or {b}?", "What is the maximum of {a} and {b}?"}
	largerChinese  = wording{"{a}和{b}哪个大？", "{a}与{b}中较大的数是哪个？", "比较大小：{a}和{b}，大的是？"}
	smallerEnglish = wording{"Which is smaller, {a} or {b}?", "Which number is less: {a} or {b}?", "What is the minimum of {a} and {b}?"}
	smallerChinese = wording{"{a}和{b}哪个小？", "{a}与{b}中较小的数是哪个？", "比较大小：{a}和{b}，小的是？"}
	nextEnglish    = wording{"Which number comes after {a}?", "What comes next after {a}?", "Count on from {a}: what is the next number?"}
	nextChinese    = wording{"{a}后面的数是几？", "{a}的下一个数是什么？", "从{a}往后数，下一个数是？"}
	pluralThings   = []entry{{"apples", "苹果"}, {"bags", "书包"}, {"eggs", "鸡蛋"}, {"cups", "杯子"}, {"stars", "星星"}, {"balloons", "气球"}, {"hats", "帽子"}, {"lemons", "柠檬"}}
)

func (g *Generator) arithmetic(zh bool) Row {
	switch n := g.n(20); {
	case n < 8:
		return g.sum(zh)
	case n < 14:
		return g.difference(zh)
	case n < 16:
		return g.product(zh)
	case n < 18:
		return g.comparison(zh)
	default:
		a := g.n(100)
		return Row{Question: g.ask(pick(zh, nextEnglish, nextChinese), a), Answer: fmt.Sprint(a + 1)}
	}
}

// most is the largest number of sums and differences.
const most = 50

// sum asks for a + b, at most 50. The pair decides the side, whatever the wording.
func (g *Generator) sum(zh bool) Row {
	total := g.n(most + 1)
	a := g.n(total + 1)
	b := total - a
	return Row{
		Question: g.ask(pick(zh, addEnglish, addChinese), a, b, g.name(zh), pluralThings[g.n(len(pluralThings))].in(zh)),
		Answer:   fmt.Sprintf("%d + %d = %d", a, b, a+b),
		key:      fmt.Sprintf("add %d %d", a, b),
	}
}

// difference asks for a - b with a at most 50 and b not above a.
func (g *Generator) difference(zh bool) Row {
	a := g.n(most + 1)
	b := g.n(a + 1)
	return Row{
		Question: g.ask(pick(zh, subEnglish, subChinese), a, b, g.name(zh), pluralThings[g.n(len(pluralThings))].in(zh)),
		Answer:   fmt.Sprintf("%d - %d = %d", a, b, a-b),
		key:      fmt.Sprintf("sub %d %d", a, b),
	}
}

// product is the multiplication table up to ten: small enough to be learnt by heart, so the text decides.
func (g *Generator) product(zh bool) Row {
	a, b := g.n(11), g.n(11)
	return Row{
		Question: g.ask(pick(zh, mulEnglish, mulChinese), a, b, g.name(zh), pluralThings[g.n(len(pluralThings))].in(zh)),
		Answer:   fmt.Sprintf("%d * %d = %d", a, b, a*b),
	}
}

func (g *Generator) comparison(zh bool) Row {
	a, b := g.n(100), g.n(100)
	for a == b {
		b = g.n(100)
	}
	low, high := min(a, b), max(a, b)
	key := fmt.Sprintf("compare %d %d", low, high)
	if g.n(2) == 0 {
		return Row{Question: g.ask(pick(zh, largerEnglish, largerChinese), a, b), Answer: fmt.Sprint(high), key: key}
	}
	return Row{Question: g.ask(pick(zh, smallerEnglish, smallerChinese), a, b), Answer: fmt.Sprint(low), key: key}
}
