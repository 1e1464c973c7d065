package dataset

import (
	"fmt"
	"slices"
	"strings"
)

// Code is the stable name of a kind of problem. Programs may switch on it; texts may change, codes do not.
// docs/troubleshooting.md has each.
type Code string

// The codes of problems. The first group concerns the whole file, the second one row.
const (
	CodeEmptyFile   Code = "empty_file"         // 0 bytes
	CodeNoRows      Code = "no_rows"            // nothing but blank lines, an empty array, or every row left out
	CodeFormat      Code = "unsupported_format" // HTML page, Git LFS pointer, UTF-16 …
	CodeUnpack      Code = "bad_gzip"           // damaged, or larger than the limit when unpacked
	CodeDamaged     Code = "damaged"            // the same for zstd and Parquet
	CodeJSON        Code = "bad_json"           // not JSON
	CodeTable       Code = "bad_table"          // not a row of a CSV table
	CodeCut         Code = "cut_off"            // JSON that ends too early: the file may be cut off
	CodeNotUTF8     Code = "not_utf8"
	CodeControl     Code = "control_character" // a NUL byte in a plain text
	CodeNotObject   Code = "not_an_object"
	CodeDuplicate   Code = "duplicate_key"
	CodeSurrogate   Code = "lone_surrogate"
	CodeTooLong     Code = "row_too_long" // longer than ReadOptions.MaxRowBytes
	CodeTooDeep     Code = "nested_too_deep"
	CodeMissing     Code = "missing_field"
	CodeType        Code = "wrong_type"
	CodeKeyCase     Code = "key_case"
	CodeTurn        Code = "bad_turn"
	CodeTemplate    Code = "template" // the chat template refuses the row
	CodeUnsupported Code = "unsupported_value"
)

// Problem is one thing that is wrong in a dataset: where it is, what was found there and what to do.
type Problem struct {
	// Code names the kind of problem.
	Code Code `json:"code"`
	// Line is the physical line, counted from 1, blank lines included; 0 when the problem concerns the whole file, and in
	// Parquet.
	Line int `json:"line,omitempty"`
	// Row is the place of the row in a JSON array or in Parquet, counted from 1; 0 for JSONL and CSV.
	Row int `json:"row,omitempty"`
	// Field is the key or path that is concerned, such as "output" or "messages[2].content"; may be empty.
	Field string `json:"field,omitempty"`
	// Found says what is wrong, in words.
	Found string `json:"found"`
	// Hint is the next step; may be empty.
	Hint string `json:"hint,omitempty"`
}

// RowError is the problem of one row.
type RowError struct{ Problem Problem }

func (e *RowError) Error() string { return e.Problem.String() }

// Where is the place in words: "line 3", "row 3 (line 12)", or "" for the whole file.
func (p Problem) Where() string {
	return where(p.Line, p.Row)
}

func where(line, row int) string {
	switch {
	case row > 0 && line == 0:
		return fmt.Sprintf("row %d", row) // Parquet has no lines
	case row > 0:
		return fmt.Sprintf("row %d (line %d)", row, line)
	case line > 0:
		return fmt.Sprintf("line %d", line)
	}
	return ""
}

// counted is what lists of lines count: lines, in a file without lines rows.
func counted(line, row int) int {
	if line > 0 {
		return line
	}
	return row
}

// String is the problem on one line.
func (p Problem) String() string {
	var b strings.Builder
	if w := p.Where(); w != "" {
		b.WriteString(w + ": ")
	}
	b.WriteString(p.Found)
	if p.Hint != "" {
		b.WriteString("; " + p.Hint)
	}
	return b.String()
}

// Range is a run of consecutive lines, both ends included.
type Range struct {
	From int `json:"from"`
	To   int `json:"to"`
}

// Lines is an ascending list of runs of line numbers.
type Lines []Range

// maxRanges bounds the memory that a file with nothing but bad rows can take.
const maxRanges = 1000

// add puts a line at the end; lines come in ascending order and a line may come several times.
func (l *Lines) add(line int) {
	s := *l
	if n := len(s); n > 0 {
		switch last := &s[n-1]; {
		case line <= last.To:
			return
		case line == last.To+1:
			last.To = line
			return
		}
	}
	if len(s) < maxRanges {
		*l = append(s, Range{line, line})
	}
}

// Has says whether the line is in the list.
func (l Lines) Has(line int) bool {
	for _, r := range l {
		if r.From <= line && line <= r.To {
			return true
		}
	}
	return false
}

// String is the list in the form "2, 4-7, 9", at most 20 runs.
func (l Lines) String() string {
	const most = 20
	var parts []string
	for i, r := range l {
		if i == most {
			parts = append(parts, "…")
			break
		}
		if r.From == r.To {
			parts = append(parts, fmt.Sprint(r.From))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", r.From, r.To))
		}
	}
	return strings.Join(parts, ", ")
}

// ValidationError says everything that is wrong with a dataset. It is a user error: no job may start from such a file.
type ValidationError struct {
	// File is the name under which the dataset was given.
	File string `json:"file"`
	// Total is the number of all problems, also of those that are not listed.
	Total int `json:"total"`
	// BadRows is the number of rows with at least one problem.
	BadRows int `json:"bad_rows"`
	// GoodRows is the number of rows without a problem.
	GoodRows int `json:"good_rows"`
	// Problems are the first ReadOptions.MaxProblems problems, in the order of the file.
	Problems []Problem `json:"problems"`
	// Lines are the lines of all bad rows (at most 1000 runs of lines).
	Lines Lines `json:"lines,omitempty"`
}

// Error names the file, lists the problems that are kept and the lines of all others.
func (e *ValidationError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "dataset %s: ", e.File)
	if e.Total == 1 && len(e.Problems) == 1 {
		b.WriteString(e.Problems[0].String())
		return b.String()
	}
	fmt.Fprintf(&b, "%d problems in %d rows, lines %s", e.Total, e.BadRows, e.Lines)
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	if more := e.Total - len(e.Problems); more > 0 {
		fmt.Fprintf(&b, "\n  and %d more problems of this kind or others", more)
	}
	return b.String()
}

// problemList collects problems in bounded memory.
type problemList struct {
	max      int
	total    int
	badRows  int
	lastLine int
	lastRow  int
	list     []Problem
	lines    Lines
}

func (l *problemList) add(p Problem) {
	l.total++
	if at := counted(p.Line, p.Row); at > 0 {
		if p.Line != l.lastLine || p.Row != l.lastRow || l.badRows == 0 {
			l.badRows++
		}
		l.lastLine, l.lastRow = p.Line, p.Row
		l.lines.add(at)
	}
	if len(l.list) < l.max {
		l.list = append(l.list, p)
	}
}

func (l *problemList) err(file string, goodRows int) error {
	if l.total == 0 {
		return nil
	}
	return &ValidationError{File: file, Total: l.total, BadRows: l.badRows, GoodRows: goodRows, Problems: l.list, Lines: l.lines}
}

// merge adds the problems that were found with earlier rows when they were encoded.
func (e *ValidationError) merge(l *problemList) {
	e.Total += l.total
	e.BadRows += l.badRows
	e.GoodRows -= l.badRows
	if room := l.max - len(e.Problems); room > 0 {
		e.Problems = append(e.Problems, l.list[:min(room, len(l.list))]...)
	}
	slices.SortStableFunc(e.Problems, func(a, b Problem) int { return a.Line - b.Line })
	all := append(slices.Clone(e.Lines), l.lines...)
	slices.SortFunc(all, func(a, b Range) int { return a.From - b.From })
	e.Lines = nil
	for _, r := range all {
		for line := r.From; line <= r.To; line++ {
			e.Lines.add(line)
		}
	}
}
