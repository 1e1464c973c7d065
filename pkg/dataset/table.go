package dataset

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// tableSource yields the rows of a CSV or TSV table (RFC 4180) as objects whose keys are the cells of the first line. An
// empty cell is an absent field where the field may be absent.
type tableSource struct {
	in     *csv.Reader
	budget *budgetReader
	max    int
	head   []string
	row    int
	over   bool
}

// budgetReader fails when one row takes too many bytes, as behind a quote that is never closed.
type budgetReader struct {
	in   io.Reader
	left int
}

var errBudget = errors.New("a row is longer than the limit")

func (b *budgetReader) Read(p []byte) (int, error) {
	n, err := b.in.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, errBudget
	}
	return n, err
}

func newTableSource(in *bufio.Reader, comma rune, most int) *tableSource {
	s := &tableSource{budget: &budgetReader{in: in}, max: most}
	s.in = csv.NewReader(s.budget)
	s.in.Comma = comma
	s.in.FieldsPerRecord = -1
	s.in.ReuseRecord = true
	return s
}

func (s *tableSource) next() (record, error) {
	for {
		if s.over {
			return record{}, io.EOF
		}
		s.budget.left = s.max + headSize
		cells, err := s.in.Read()
		if err != nil {
			return s.fail(err)
		}
		line, _ := s.in.FieldPos(0)
		if s.head == nil {
			if p := s.takeHead(cells, line); p != nil {
				s.over = true
				return record{line: line, bad: p}, nil
			}
			continue
		}
		s.row++
		return s.object(cells, line), nil
	}
}

// fail turns an error of the table into a problem; the reading can't go on behind it.
func (s *tableSource) fail(err error) (record, error) {
	var bad *csv.ParseError
	switch {
	case errors.As(err, &bad):
		s.over = true
		p := &Problem{Code: CodeTable, Line: bad.StartLine, Found: "not a row of a CSV table: " + bad.Err.Error(), Hint: `put a text with quotes, commas or line ends into "…" and double the quotes in it`}
		if errors.Is(bad.Err, errBudget) {
			p.Code, p.Found = CodeTooLong, fmt.Sprintf("the row has more than %d bytes", s.max)
		}
		return record{line: bad.StartLine, bad: p}, nil
	case errors.Is(err, errBudget):
		s.over = true
		line, _ := s.in.FieldPos(0)
		return record{line: line, bad: &Problem{Code: CodeTooLong, Line: line, Found: fmt.Sprintf("the row behind line %d has more than %d bytes", line, s.max),
			Hint: "close the quote of the text, or split the text into several rows"}}, nil
	}
	return record{}, err
}

func (s *tableSource) takeHead(cells []string, line int) *Problem {
	s.head = slices.Clone(cells)
	for i, name := range s.head {
		s.head[i] = strings.TrimSpace(name)
		if slices.Contains(s.head[:i], s.head[i]) {
			return &Problem{Code: CodeDuplicate, Line: line, Field: s.head[i], Found: fmt.Sprintf("two columns are called %q", s.head[i]), Hint: "rename one of them"}
		}
	}
	return nil
}

func (s *tableSource) object(cells []string, line int) record {
	rec := record{line: line}
	if len(cells) != len(s.head) {
		rec.bad = &Problem{Code: CodeTable, Line: line, Found: fmt.Sprintf("the row has %d cells, the first line names %d columns", len(cells), len(s.head)),
			Hint: `put a text with commas or line ends into "…"`}
		return rec
	}
	row := &value{kind: kindObject}
	for i, cell := range cells {
		if !utf8.ValidString(cell) {
			at, _ := s.in.FieldPos(i)
			rec.bad = &Problem{Code: CodeNotUTF8, Line: at, Field: s.head[i], Found: fmt.Sprintf("the cell %q is not UTF-8", s.head[i]), Hint: "save the file as UTF-8"}
			if looksGBK([]byte(cell)) {
				rec.bad.Hint = "the text looks like GBK: convert the file with `iconv -f GB18030 -t UTF-8`"
			}
			return rec
		}
		if cell == "" && !slices.Contains([]string{"instruction", "output", "prompt", "completion", "text"}, s.head[i]) {
			continue
		}
		row.members = append(row.members, member{s.head[i], value{kind: kindString, str: strings.Clone(cell)}})
	}
	rec.val = row
	return rec
}

// nested are the fields that hold a list; in a table they are written as JSON text.
var nested = []string{"messages", "conversations", "conversation", "history"}

// unfold parses the JSON text of such fields in a row of a table; false when one is bad.
func (p *rowParser) unfold(v *value) bool {
	for i := range v.members {
		m := &v.members[i]
		if m.val.kind != kindString || !slices.Contains(nested, m.key) {
			continue
		}
		w := &walker{b: []byte(m.val.str)}
		inner, err := w.value()
		if w.space(); err == nil && w.i < len(w.b) {
			err = w.fail("there is more text behind the list")
		}
		if err != nil {
			p.problem(CodeJSON, m.key, "write the list as JSON", "the text in the column %q is not JSON: %s", m.key, err.found)
			continue
		}
		for _, is := range w.issues {
			p.problem(is.code, m.key+"."+is.field, is.hint, "%s", is.found)
		}
		m.val = inner
	}
	return !p.bad
}
