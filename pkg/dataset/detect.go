package dataset

import (
	"bytes"
	"encoding/csv"
	"slices"
	"strings"
	"unicode/utf8"
)

// Format is what the content of a file is, whatever the file is called.
type Format string

// The formats that are read, and those that are recognised only to name them.
const (
	FormatJSONL   Format = "jsonl"        // one JSON value a line
	FormatArray   Format = "json-array"   // one JSON array of rows, on one line or indented
	FormatValues  Format = "json-objects" // JSON objects that span lines, one after the other
	FormatEmpty   Format = "empty"        // 0 bytes
	FormatTable   Format = "csv"          // a table with a line of column names, separated by commas, tabs or semicolons
	FormatParquet Format = "parquet"
	FormatText    Format = "text"            // plain text; the file is called .txt
	FormatGzip    Format = "gzip"            // unpacked while reading
	FormatZstd    Format = "zstd"            // unpacked while reading
	FormatOther   Format = "not a data file" // refused, see Detection.Hint
)

// Detection is the result of looking at the first bytes of a file.
type Detection struct {
	Format Format
	// BOM says that the file starts with a UTF-8 byte order mark, which is skipped.
	BOM bool
	// CROnly says that lines end with CR (U+000D) alone.
	CROnly bool
	// Comma separates the cells of a table.
	Comma rune
	// Found and Hint say what a refused file is and what to do.
	Found, Hint string
}

// headSize is how much of a file Detect wants to see.
const headSize = 64 << 10

var utf8BOM = []byte("\xef\xbb\xbf")

// Detect recognises the format of a file by its first bytes (up to 64 KiB are useful). whole says that head is all of it.
func Detect(head []byte, whole bool) Detection { return detect(head, whole, nil) }

// detect is Detect with names of columns that a table may have.
func detect(head []byte, whole bool, columns []string) Detection {
	if len(head) == 0 {
		return Detection{Format: FormatEmpty}
	}
	if d, ok := detectBinary(head); ok {
		return d
	}
	d := Detection{Format: FormatJSONL, BOM: bytes.HasPrefix(head, utf8BOM)}
	text := bytes.TrimLeft(bytes.TrimPrefix(head, utf8BOM), " \t\r\n")
	if other, ok := detectText(text); ok {
		return other
	}
	first, _, _ := bytes.Cut(text, []byte("\n"))
	if comma, ok := looksLikeTable(string(bytes.TrimRight(first, "\r")), columns); ok {
		d.Format, d.Comma = FormatTable, comma
		return d
	}
	if bytes.HasPrefix(text, []byte("[")) {
		d.Format = FormatArray
		return d
	}
	lf := bytes.IndexByte(text, '\n')
	if lf >= 0 && spansLines(text[:lf]) {
		d.Format = FormatValues
	}
	d.CROnly = crOnly(head) && (whole || len(head) >= headSize)
	return d
}

// crOnly says whether the lines of a text end with CR alone.
func crOnly(head []byte) bool {
	return bytes.IndexByte(head, '\n') < 0 && bytes.IndexByte(bytes.TrimRight(head, "\r"), '\r') >= 0
}

// spansLines says whether a first line is the beginning of an indented object: it is cut between two tokens.
func spansLines(line []byte) bool {
	line = bytes.TrimRight(line, " \t\r")
	if !bytes.HasPrefix(line, []byte("{")) || !utf8.Valid(line) {
		return false
	}
	w := &walker{b: line}
	_, err := w.value()
	return err != nil && err.code == CodeCut && strings.IndexByte("{[,:", line[len(line)-1]) >= 0
}

func refused(found, hint string) (Detection, bool) {
	return Detection{Format: FormatOther, Found: found, Hint: hint}, true
}

// detectBinary recognises files by their magic bytes.
func detectBinary(head []byte) (Detection, bool) {
	for _, m := range []struct{ magic, name, hint string }{
		{"PK\x03\x04", "a ZIP archive (perhaps an Excel sheet)", "unpack it, or save the sheet as JSONL"},
		{"BZh", "packed with bzip2", "unpack it with `bunzip2`"},
		{"\xfd7zXZ", "packed with xz", "unpack it with `unxz`"},
		{"ARROW1", "an Arrow file", "export it as JSONL with datasets' to_json"},
		{"%PDF", "a PDF document", "training data has to be JSONL"},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return refused("the file is "+m.name+", not JSON lines", m.hint)
		}
	}
	for magic, format := range map[string]Format{"\x1f\x8b": FormatGzip, "\x28\xb5\x2f\xfd": FormatZstd, "PAR1": FormatParquet} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return Detection{Format: format}, true
		}
	}
	const utf16Hint = "save it as UTF-8, or convert it with `iconv -f UTF-16 -t UTF-8`"
	if bytes.HasPrefix(head, []byte("\xff\xfe")) || bytes.HasPrefix(head, []byte("\xfe\xff")) {
		return refused("the text of the file is UTF-16", utf16Hint)
	}
	if len(head) >= 4 && (head[0] == 0) != (head[1] == 0) && (head[2] == 0) != (head[3] == 0) {
		return refused("the text of the file looks like UTF-16 without a byte order mark", utf16Hint)
	}
	return Detection{}, false
}

// detectText recognises text files that are no data. text begins with its first character that is no space.
func detectText(text []byte) (Detection, bool) {
	switch {
	case bytes.HasPrefix(bytes.ToLower(text[:min(len(text), 512)]), []byte("version https://git-lfs")):
		return refused("the file is a Git LFS pointer, not the data itself", "fetch the data with `git lfs pull`")
	case isWebPage(text):
		return refused("the file is a web page (HTML): the download failed", "open the page in a browser to see the error, then download the data again")
	case isMarkup(text):
		return refused("the file is XML or HTML, not JSON lines", "export the rows as JSONL")
	}
	return Detection{}, false
}

func isMarkup(text []byte) bool { return bytes.HasPrefix(text, []byte("<")) }

func isWebPage(text []byte) bool {
	lower := bytes.ToLower(text[:min(len(text), 512)])
	return slices.ContainsFunc([]string{"<!doctype html", "<html", "<head", "<body"}, func(begin string) bool { return bytes.HasPrefix(lower, []byte(begin)) })
}

// looksLikeTable says whether a first line is the head of a CSV or TSV table: cells that are no JSON, one of them a column
// name that datasets use or that a mapping names.
func looksLikeTable(line string, columns []string) (comma rune, ok bool) {
	if line == "" || strings.ContainsAny(line[:1], "{[") {
		return 0, false
	}
	for _, comma := range []rune{',', '\t', ';'} {
		r := csv.NewReader(strings.NewReader(line))
		r.Comma = comma
		cells, err := r.Read()
		if err != nil {
			continue
		}
		for _, cell := range cells {
			cell = strings.TrimSpace(cell)
			if slices.Contains(columns, cell) || cell == "text" || len(cells) > 1 && slices.Contains(columnNames, strings.ToLower(cell)) {
				return comma, true
			}
		}
	}
	return 0, false
}

// columnNames are names of columns by which a table is recognised.
var columnNames = []string{"instruction", "input", "output", "prompt", "completion", "question", "answer", "text", "messages",
	"conversations", "system", "response", "问题", "回答", "指令", "输入", "输出"}
