package dataset

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// record parses a record and queues its rows, or adds its problems.
func (r *Reader) record(rec record) {
	if rec.val != nil {
		p := &rowParser{reader: r, line: rec.line, place: rec.row}
		if !p.unfold(rec.val) {
			return
		}
		if row, ok := p.parse(rec.val); ok {
			r.accept(row)
		}
		return
	}
	if at, cut := validUTF8(rec.data); at >= 0 {
		r.problem(notUTF8(rec, at, cut && rec.last))
		return
	}
	w := &walker{b: rec.data}
	var rows []Row
	bad := false
	for {
		v, err := w.value()
		for _, is := range w.issues {
			bad = true
			if is.field != "" {
				is.found += fmt.Sprintf(" (in %q)", is.field)
			}
			r.problem(Problem{Code: is.code, Line: rec.line, Row: rec.row, Field: is.field, Found: is.found, Hint: is.hint})
		}
		w.issues = nil
		if err != nil {
			r.problem(syntaxProblem(rec, err))
			return
		}
		p := &rowParser{reader: r, line: rec.line, place: rec.row, bad: bad}
		if row, ok := p.parse(&v); ok {
			rows = append(rows, row)
		}
		bad = bad || p.bad
		if w.space(); w.i >= len(w.b) {
			break
		}
		if w.peek() != '{' {
			err := w.fail("there is more text behind the row")
			if w.peek() == ',' {
				err.hint = "remove the comma after the object, or put the rows into [ ]"
			}
			r.problem(syntaxProblem(rec, err))
			return
		}
	}
	if bad {
		return
	}
	for _, row := range rows {
		r.accept(row)
	}
}

// accept queues a row without a problem.
func (r *Reader) accept(row Row) {
	row.Index = r.report.Rows
	r.report.Rows++
	if r.report.Shapes == nil {
		r.report.Shapes = map[Shape]int{}
	}
	r.report.Shapes[row.Shape]++
	r.repeated(row)
	r.queue = append(r.queue, row)
}

func notUTF8(rec record, at int, cut bool) Problem {
	p := Problem{Code: CodeNotUTF8, Line: rec.line, Row: rec.row}
	p.Line += bytes.Count(rec.data[:at], []byte("\n"))
	if cut {
		p.Code, p.Found, p.Hint = CodeCut, "the row is incomplete: the file ends inside a character", hintCut
		return p
	}
	p.Found = fmt.Sprintf("byte 0x%02x at offset %d of the file (%d of the row) is not UTF-8", rec.data[at], rec.offset+int64(at), at)
	p.Hint = "save the file as UTF-8"
	if looksGBK(rec.data) {
		p.Hint = "the text looks like GBK: convert the file with `iconv -f GB18030 -t UTF-8`"
	}
	return p
}

// looksGBK says whether all bytes above ASCII come in the pairs of GBK.
func looksGBK(b []byte) bool {
	pairs := 0
	for i := 0; i < len(b); i++ {
		if b[i] < 0x80 {
			continue
		}
		if i+1 >= len(b) || b[i] == 0x80 || b[i] == 0xff || b[i+1] < 0x40 || b[i+1] == 0x7f || b[i+1] == 0xff {
			return false
		}
		pairs++
		i++
	}
	return pairs > 0
}

func syntaxProblem(rec record, err *syntaxError) Problem {
	p := Problem{Code: err.code, Line: rec.line, Row: rec.row, Found: err.found, Hint: err.hint}
	p.Line += bytes.Count(rec.data[:min(err.offset, len(rec.data))], []byte("\n"))
	if err.code == CodeCut {
		p.Found = "the row is incomplete: " + err.found
		if p.Hint = "write each row on one line"; rec.last {
			p.Hint = hintCut
		}
		return p
	}
	if runOf(rec.data, 0) == len(rec.data) {
		p.Found, p.Hint = fmt.Sprintf("the line is %d NUL bytes: the file is damaged or sparse", len(rec.data)), "copy or download it again"
		return p
	}
	p.Found = fmt.Sprintf("not JSON at byte %d of the row: %s", err.offset+1, err.found)
	if first, _ := utf8.DecodeRune(rec.data); p.Hint == "" && err.offset == 0 && unicode.IsLetter(first) {
		p.Hint = "write the row as a JSON object; a plain text has to be called .txt"
	}
	return p
}
