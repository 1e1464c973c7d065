package dataset

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// record is a piece of the file that should hold one row (a JSONL line may hold several).
type record struct {
	data []byte // valid until the next call
	line int    // physical line on which it begins
	row  int    // place in an array, from 1; 0 in JSONL
	// offset of data in the (unpacked) file.
	offset int64
	// last says that the file ends right behind the data, without a line end or a closing bracket.
	last bool
	// bad is set instead of data when the record can't be handed over.
	bad *Problem
	// val is set instead of data by sources that are no JSON.
	val *value
}

// source cuts a file into records; io.EOF at its end.
type source interface {
	next() (record, error)
}

// lineSource yields the lines of a JSONL file, in memory bounded by the longest line that is allowed.
type lineSource struct {
	in     *bufio.Reader
	end    byte // '\n', or '\r' in files with CR only
	max    int
	line   int
	offset int64
	buf    []byte
}

func (s *lineSource) next() (record, error) {
	s.buf = s.buf[:0]
	s.line++
	rec := record{line: s.line, offset: s.offset}
	long := 0
	for {
		part, err := s.in.ReadSlice(s.end)
		s.offset += int64(len(part))
		if len(s.buf)+len(part) > s.max || long > 0 {
			long += len(s.buf) + len(part)
			s.buf = s.buf[:0]
		} else {
			s.buf = append(s.buf, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && err != io.EOF {
			return rec, err
		}
		if rec.last = err == io.EOF; rec.last && len(s.buf) == 0 && long == 0 {
			return rec, io.EOF
		}
		break
	}
	if long > 0 {
		rec.bad = tooLong(rec, long, s.max)
	}
	rec.data = bytes.TrimSuffix(s.buf, []byte{s.end})
	return rec, nil
}

func tooLong(rec record, size, limit int) *Problem {
	return &Problem{Code: CodeTooLong, Line: rec.line, Row: rec.row,
		Found: fmt.Sprintf("the row has %d bytes, more than the limit of %d", size, limit), Hint: "split the text into several rows"}
}

// valueSource yields the elements of a JSON array, or JSON objects one after the other, by following brackets and
// strings. Whether a value is proper JSON is for the walker to say.
type valueSource struct {
	in     *bufio.Reader
	array  bool
	max    int
	line   int
	row    int
	offset int64
	buf    []byte
	opened bool
	closed bool
	comma  bool // a comma stands before the next value
	over   bool // an error came that ends the reading
}

func (s *valueSource) read() (byte, error) {
	c, err := s.in.ReadByte()
	if err == nil {
		s.offset++
		if c == '\n' {
			s.line++
		}
	}
	return c, err
}

// skip reads white space and returns the first byte behind it.
func (s *valueSource) skip() (byte, error) {
	for {
		c, err := s.read()
		if err != nil || c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c, err
		}
	}
}

func (s *valueSource) next() (record, error) {
	if s.line == 0 {
		s.line = 1
	}
	if s.over {
		return record{}, io.EOF
	}
	c, err := s.skip()
	if s.array && !s.opened && err == nil { // Detect saw the bracket
		s.opened = true
		c, err = s.skip()
	}
	if errors.Is(err, io.EOF) && s.array && !s.closed {
		s.over = true
		return s.problem(CodeCut, fmt.Sprintf("the array has no end after row %d", s.row), hintCut), nil
	}
	if err != nil {
		return record{}, err
	}
	if s.array {
		if rec, stop, err := s.between(&c); stop {
			return rec, err
		}
	}
	return s.element(c)
}

// between handles what may stand between the elements of an array. It leaves the first byte of the next element in c,
// or says stop with the record or the error to return.
func (s *valueSource) between(c *byte) (rec record, stop bool, err error) {
	switch {
	case s.closed:
		s.over = true
		return s.problem(CodeJSON, "there is more text after the end of the array", "keep one array in a file, or use one object a line"), true, nil
	case *c == ']':
		s.closed = true
		if s.comma {
			return s.problem(CodeJSON, "a comma stands before the end of the array", "remove the comma after the last row"), true, nil
		}
		rec, err = s.next()
		return rec, true, err
	case *c == ',' && s.row > 0 && !s.comma:
		s.comma = true
		if *c, err = s.skip(); errors.Is(err, io.EOF) {
			s.over = true
			return s.problem(CodeCut, fmt.Sprintf("the array has no end after row %d", s.row), hintCut), true, nil
		} else if err != nil {
			return rec, true, err
		}
		return s.between(c)
	case *c == ',':
		return s.problem(CodeJSON, "a row is missing between two commas", "remove one comma"), true, nil
	case s.row > 0 && !s.comma:
		s.comma = true
		if err := s.in.UnreadByte(); err != nil {
			return rec, true, err
		}
		s.offset--
		return s.problem(CodeJSON, fmt.Sprintf("a comma is missing between row %d and the next", s.row), "put a comma between the rows"), true, nil
	}
	return rec, false, nil
}

func (s *valueSource) problem(code Code, found, hint string) record {
	p := &Problem{Code: code, Line: s.line, Found: found, Hint: hint}
	if s.array {
		p.Row = s.row + 1
	}
	return record{line: p.Line, row: p.Row, bad: p}
}

const hintCut = "the file may be cut off: download or export it again"

// element reads the value that begins with c.
func (s *valueSource) element(c byte) (record, error) {
	s.comma = false
	s.row++
	rec := record{line: s.line, offset: s.offset - 1}
	if s.array {
		rec.row = s.row
	}
	s.buf = s.buf[:0]
	depth, inText, escaped, long := 0, false, false, 0
	var err error
	for {
		if len(s.buf) < s.max {
			s.buf = append(s.buf, c)
		} else {
			long++
		}
		if depth, inText, escaped = step(c, depth, inText, escaped); depth == 0 && !inText && (c == '}' || c == ']' || c == '"') {
			break
		}
		if c, err = s.read(); err != nil {
			rec.last = errors.Is(err, io.EOF)
			break
		}
		if depth == 0 && !inText && (c == ',' || c == ']' || c == '\n' || c == ' ' || c == '\r') { // end of a number or word
			err = s.in.UnreadByte()
			s.offset--
			if c == '\n' {
				s.line--
			}
			break
		}
	}
	if errors.Is(err, io.EOF) {
		err, s.over = nil, true
	}
	if long > 0 {
		rec.bad = tooLong(rec, len(s.buf)+long, s.max)
	}
	rec.data = s.buf
	return rec, err
}

// step follows one byte of JSON: the depth of brackets, whether it is inside a string and behind a backslash.
func step(c byte, depth int, inText, escaped bool) (int, bool, bool) {
	switch {
	case escaped:
		return depth, inText, false
	case inText:
		return depth, c != '"', c == '\\'
	case c == '"':
		return depth, true, false
	case c == '{' || c == '[':
		return depth + 1, false, false
	case c == '}' || c == ']':
		return max(depth-1, 0), false, false
	}
	return depth, false, false
}
