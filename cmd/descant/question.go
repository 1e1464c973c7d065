package main

import "strings"

// textMark alone on a line begins and ends a text of several lines.
const textMark = `"""`

// question gathers the lines of what is typed until it is whole.
type question struct {
	lines []string
	block bool // inside of a text between marks
}

// add takes a line; whole tells that text is complete.
func (q *question) add(line string) (text string, whole bool) {
	switch mark := strings.TrimSpace(line) == textMark; {
	case mark && q.block:
		text = strings.Join(q.lines, "\n")
		*q = question{}
		return text, true
	case mark && len(q.lines) == 0:
		q.block = true
		return "", false
	case q.block:
		q.lines = append(q.lines, line)
		return "", false
	}
	if more, ok := strings.CutSuffix(line, `\`); ok {
		q.lines = append(q.lines, more)
		return "", false
	}
	text = strings.TrimSpace(strings.Join(append(q.lines, line), "\n"))
	*q = question{}
	return text, true
}

// open tells whether more lines are expected.
func (q *question) open() bool { return q.block || len(q.lines) > 0 }
