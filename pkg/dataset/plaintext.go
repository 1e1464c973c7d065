package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// IsText says whether a file of this name may be a plain text: it is called .txt, packed or not. The content can't say
// so, as any damaged file of another format is some text.
func IsText(name string) bool {
	name = strings.ToLower(path.Base(name))
	for _, packed := range []string{".gz", ".zst", ".zstd"} {
		name = strings.TrimSuffix(name, packed)
	}
	return strings.HasSuffix(name, ".txt")
}

// orText makes the detection of a file that is called .txt one of plain text, unless its content is plainly something else:
// rows of JSON, a table, or what no dataset is.
func (d Detection) orText(head []byte) Detection {
	text := bytes.TrimLeft(bytes.TrimPrefix(head, utf8BOM), " \t\r\n")
	switch d.Format {
	case FormatJSONL, FormatArray, FormatValues:
		if len(text) == 0 || looksLikeJSON(text) {
			return d
		}
	case FormatOther:
		if !isMarkup(text) || isWebPage(text) {
			return d
		}
	default:
		return d
	}
	return Detection{Format: FormatText, BOM: bytes.HasPrefix(head, utf8BOM), CROnly: crOnly(head)}
}

// looksLikeJSON says whether a text begins as rows do: with an object, or a list of objects.
func looksLikeJSON(text []byte) bool {
	rest := bytes.TrimLeft(text[1:], " \t\r\n")
	switch text[0] {
	case '{':
		return len(rest) == 0 || strings.IndexByte(`"'}`, rest[0]) >= 0
	case '[':
		return len(rest) == 0 || strings.IndexByte("{]", rest[0]) >= 0
	}
	return false
}

// textSource yields the paragraphs of a plain text, which blank lines separate, or its lines.
type textSource struct {
	lines  *lineSource
	byLine bool
	crlf   bool // a line ended with CRLF
	skip   bool // the paragraph is too long: the rest of it is passed over
	buf    []byte
}

// newTextSource reads paragraphs when a blank line separates texts in the first bytes of the file, else lines.
func (r *Reader) newTextSource(lines *lineSource, head []byte) *textSource {
	s := &textSource{lines: lines, byLine: !hasParagraphs(head)}
	if s.byLine {
		r.report.remark("the file was read as plain text, every line as a row: no blank line separates paragraphs in its first %d KiB", headSize>>10)
	} else {
		r.report.remark("the file was read as plain text, every paragraph as a row: blank lines separate them")
	}
	return s
}

// hasParagraphs says whether a blank line stands between two texts.
func hasParagraphs(head []byte) bool {
	head = bytes.ReplaceAll(head, []byte("\r\n"), []byte("\n"))
	text, blank := false, false
	for line := range bytes.SplitSeq(bytes.ReplaceAll(head, []byte("\r"), []byte("\n")), []byte("\n")) {
		empty := len(bytes.TrimSpace(line)) == 0
		if !empty && text && blank {
			return true
		}
		text, blank = text || !empty, empty
	}
	return false
}

func (s *textSource) next() (record, error) {
	var rec record
	s.buf = s.buf[:0]
	lines := 0
	for {
		line, err := s.lines.next()
		if errors.Is(err, io.EOF) && lines > 0 {
			return s.row(rec), nil
		}
		if err != nil {
			return line, err
		}
		if line.bad != nil { // the paragraph goes with its line: it is refused as a whole
			return line, nil
		}
		data := line.data
		if trimmed, ok := bytes.CutSuffix(data, []byte("\r")); ok {
			data, s.crlf = trimmed, true
		}
		if len(bytes.TrimSpace(data)) == 0 {
			s.skip = false
			if lines > 0 {
				return s.row(rec), nil
			}
			continue
		}
		if s.skip {
			continue
		}
		if lines == 0 {
			rec = line
		} else {
			s.buf = append(s.buf, '\n')
		}
		if p := badText(line, data); p != nil {
			return record{line: line.line, bad: p}, nil
		}
		lines++
		s.buf = append(s.buf, data...)
		if len(s.buf) > s.lines.max {
			s.skip = true
			return record{line: rec.line, bad: tooLong(rec, len(s.buf), s.lines.max)}, nil
		}
		if s.byLine || line.last {
			return s.row(rec), nil
		}
	}
}

// badText is what is wrong with a line of text, or nil.
func badText(line record, data []byte) *Problem {
	if at, cut := validUTF8(data); at >= 0 {
		p := notUTF8(record{data: data, line: line.line, offset: line.offset}, at, cut && line.last)
		return &p
	}
	if bytes.IndexByte(data, 0) >= 0 {
		return &Problem{Code: CodeControl, Line: line.line, Found: fmt.Sprintf("the line holds a NUL byte at offset %d of the file: it is damaged, or no text", line.offset+int64(bytes.IndexByte(data, 0))),
			Hint: "copy or download the file again"}
	}
	return nil
}

// row is the text as the row that {"text": …} would be.
func (s *textSource) row(rec record) record {
	text := value{kind: kindString, str: string(s.buf)}
	return record{line: rec.line, val: &value{kind: kindObject, members: []member{{"text", text}}}}
}
