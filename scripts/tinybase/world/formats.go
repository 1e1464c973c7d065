package world

import (
	"fmt"
	"strings"
)

// field is a key with its value; numbers are written without quotes in JSON.
type field struct {
	key, value string
	number     bool
}

// fields draws two or three fields of a small record, the name first.
func (g *Generator) fields(zh bool) []field {
	out := []field{{key: entry{"name", "姓名"}.in(zh), value: g.name(zh)}}
	more := []field{
		{key: entry{"age", "年龄"}.in(zh), value: fmt.Sprint(6 + g.n(70)), number: true},
		{key: entry{"city", "城市"}.in(zh), value: cities[g.n(len(cities))].in(zh)},
		{key: entry{"job", "职业"}.in(zh), value: jobs[g.n(len(jobs))].in(zh)},
		{key: entry{"colour", "颜色"}.in(zh), value: colours[g.n(len(colours))].in(zh)},
	}
	first := g.n(len(more))
	out = append(out, more[first])
	if second := g.n(len(more)); second != first {
		out = append(out, more[second])
	}
	return out
}

func (g *Generator) format(zh bool) Row {
	switch n := g.n(10); {
	case n < 3:
		return g.toJSON(zh)
	case n < 5:
		return g.toTable(zh)
	case n < 6:
		return g.fromJSON(zh)
	case n < 8:
		return g.toList(zh)
	default:
		return g.joined(zh)
	}
}

var (
	jsonEnglish  = wording{"Write as JSON: {a}", "Convert to JSON: {a}", "Give me the JSON for: {a}", "Turn this into JSON: {a}"}
	jsonChinese  = wording{"写成 JSON：{a}", "转换成 JSON：{a}", "请用 JSON 表示：{a}", "把下面的内容变成 JSON：{a}"}
	tableEnglish = wording{"Write as a Markdown table: {a}", "Convert to a Markdown table: {a}", "Make a table of: {a}", "Turn this into a table: {a}"}
	tableChinese = wording{"写成 Markdown 表格：{a}", "转换成 Markdown 表格：{a}", "请做成表格：{a}", "把下面的内容变成表格：{a}"}
	plainEnglish = wording{"Write as plain text: {a}", "Convert the JSON to text: {a}", "Read this JSON: {a}", "List the fields of {a}"}
	plainChinese = wording{"写成普通文字：{a}", "把 JSON 转换成文字：{a}", "读出这个 JSON：{a}", "列出字段：{a}"}
)

// assignments writes "name=Tom, age=12".
func assignments(fields []field, zh bool) string {
	var parts []string
	for _, f := range fields {
		parts = append(parts, f.key+"="+f.value)
	}
	return strings.Join(parts, entry{", ", "，"}.in(zh))
}

func asJSON(fields []field) string {
	var parts []string
	for _, f := range fields {
		value := f.value
		if !f.number {
			value = `"` + value + `"`
		}
		parts = append(parts, `"`+f.key+`": `+value)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func (g *Generator) toJSON(zh bool) Row {
	f := g.fields(zh)
	return Row{Question: g.ask(pick(zh, jsonEnglish, jsonChinese), assignments(f, zh)), Answer: asJSON(f)}
}

func (g *Generator) toTable(zh bool) Row {
	f := g.fields(zh)
	head, rule, body := "|", "|", "|"
	for _, x := range f {
		head += " " + x.key + " |"
		rule += " --- |"
		body += " " + x.value + " |"
	}
	return Row{Question: g.ask(pick(zh, tableEnglish, tableChinese), assignments(f, zh)), Answer: head + "\n" + rule + "\n" + body}
}

func (g *Generator) fromJSON(zh bool) Row {
	f := g.fields(zh)
	var lines []string
	for _, x := range f {
		lines = append(lines, x.key+entry{": ", "："}.in(zh)+x.value)
	}
	return Row{Question: g.ask(pick(zh, plainEnglish, plainChinese), asJSON(f)), Answer: strings.Join(lines, "\n")}
}

var (
	bulletEnglish = wording{"Make a bullet list: {a}", "Write as a list: {a}", "Turn into bullet points: {a}"}
	bulletChinese = wording{"写成列表：{a}", "用短横线列出来：{a}", "请列成要点：{a}"}
	numberEnglish = wording{"Make a numbered list: {a}", "Number these: {a}", "Write as a numbered list: {a}"}
	numberChinese = wording{"写成编号列表：{a}", "请编上号码：{a}", "列成带编号的清单：{a}"}
)

func (g *Generator) toList(zh bool) Row {
	list := g.differentNouns(zh, 2+g.n(3))
	text := strings.Join(list, entry{", ", "、"}.in(zh))
	numbered := g.n(2) == 0
	lines := make([]string, len(list))
	for i, word := range list {
		lines[i] = "- " + word
		if numbered {
			lines[i] = fmt.Sprintf("%d. %s", i+1, word)
		}
	}
	question := g.ask(pick(zh, bulletEnglish, bulletChinese), text)
	if numbered {
		question = g.ask(pick(zh, numberEnglish, numberChinese), text)
	}
	return Row{Question: question, Answer: strings.Join(lines, "\n")}
}

var (
	commaEnglish = wording{"Separate the words with commas: {a}", "Put commas between the words: {a}", "Write with commas: {a}"}
	commaChinese = wording{"用逗号隔开：{a}", "在词语之间加上逗号：{a}", "请用逗号分开这些词：{a}"}
	dashEnglish  = wording{"Join the words with dashes: {a}", "Put dashes between the words: {a}", "Write with dashes: {a}"}
	dashChinese  = wording{"用短横连接：{a}", "在词语之间加上短横：{a}", "请用短横连起来：{a}"}
)

func (g *Generator) joined(zh bool) Row {
	list := g.differentNouns(zh, 2+g.n(3))
	text := strings.Join(list, " ")
	if g.n(2) == 0 {
		return Row{Question: g.ask(pick(zh, commaEnglish, commaChinese), text), Answer: strings.Join(list, entry{", ", "，"}.in(zh))}
	}
	return Row{Question: g.ask(pick(zh, dashEnglish, dashChinese), text), Answer: strings.Join(list, " - ")}
}
