package dataset

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// plainTexts reads a file and gives "line: text" of every row.
func plainTexts(t *testing.T, name, data string, opts ReadOptions) ([]string, *Report, error) {
	t.Helper()
	rows, report, err := ReadAll(strings.NewReader(data), name, opts)
	var out []string
	for _, row := range rows {
		if row.Shape != ShapeText || row.Messages != nil {
			t.Errorf("row %+v is no plain text", row)
		}
		out = append(out, fmt.Sprintf("%d: %s", row.Line, row.Text))
	}
	return out, report, err
}

func TestPlainTextFile(t *testing.T) {
	t.Parallel()
	const long = "Call me Ishmael.\nSome years ago\n\n\n  \u3000\nIt is a way I have\n"
	for _, c := range []struct {
		name, file, data string
		want             []string
		remark           string
	}{
		{"paragraphs", "book.txt", long, []string{"1: Call me Ishmael.\nSome years ago", "6: It is a way I have"}, "every paragraph"},
		{"blank lines around", "BOOK.TXT", "\n \nfirst\n\nsecond\nthird\n\n\n", []string{"3: first", "5: second\nthird"}, "every paragraph"},
		{"one document a line", "lines.txt", "one\ntwo\n three \n", []string{"1: one", "2: two", "3:  three "}, "every line"},
		{"no line end", "one.txt", "alone", []string{"1: alone"}, "every line"},
		{"CRLF", "dos.txt", "a\r\nb\r\n\r\nc\r\n", []string{"1: a\nb", "4: c"}, "CRLF"},
		{"CR", "mac.txt", "a\rb\r\rc", []string{"1: a\nb", "4: c"}, "CR alone"},
		{"a byte order mark", "bom.txt", "\xef\xbb\xbf你好\n", []string{"1: 你好"}, "byte order mark"},
		{"brackets that are no JSON", "song.txt", "[Verse 1]\nla\n\n{la}\n", []string{"1: [Verse 1]\nla", "4: {la}"}, "every paragraph"},
		{"markup", "tags.txt", "<s>\nla\n", []string{"1: <s>", "2: la"}, "every line"},
		{"JSON stays JSON", "rows.txt", "{\"text\":\"a\\n\\nb\"}\n", []string{"1: a\n\nb"}, ""},
		{"a table stays a table", "table.txt", "text\nab\n", []string{"2: ab"}, "CSV"},
	} {
		got, report, err := plainTexts(t, c.file, c.data, ReadOptions{})
		if err != nil || !slices.Equal(got, c.want) || !strings.Contains(report.Text(), c.remark) {
			t.Errorf("%s: rows %q, want %q; %v; %s", c.name, got, c.want, err, report.Text())
		}
		if c.name == "JSON stays JSON" {
			continue
		}
		var packed bytes.Buffer
		zip := gzip.NewWriter(&packed)
		if _, err := zip.Write([]byte(c.data)); err != nil {
			t.Fatal(err)
		}
		if err := zip.Close(); err != nil {
			t.Fatal(err)
		}
		if got, _, err := plainTexts(t, c.file+".gz", packed.String(), ReadOptions{}); err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s, packed: rows %q, want %q; %v", c.name, got, c.want, err)
		}
	}
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, report, err := plainTexts(t, "book.txt.zst", string(encoder.EncodeAll([]byte(long), nil)), ReadOptions{})
	if err != nil || len(got) != 2 || report.Format != FormatText || report.Packed != FormatZstd {
		t.Errorf("rows %q of %+v: %v", got, report, err)
	}
}

// TestPlainTextRefused has every bad line of a text named, and a text with another name refused with the way out.
func TestPlainTextRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file, data string
		lines      string
		says       string
	}{
		{"book.txt", "good\n\nna\xefve\n\ngood\n\n\x00\x00\n", "3, 7", "is not UTF-8"},
		{"gbk.txt", "\xd5\xc2\xbd\xda\n\nx\n", "1", "iconv -f GB18030"},
		{"cut.txt", "good\n\nna\xc3", "3", "cut off"},
		{"long.txt", "a\n\n" + strings.Repeat("b\n", 100), "3", "more than the limit of 64"},
		{"blank.txt", "\n \n", "", "no row was found"},
		{"page.txt", "<!DOCTYPE html>\n<html>", "", "web page"},
		{"pointer.txt", "version https://git-lfs.github.com/spec/v1\n", "", "git lfs pull"},
		{"utf16.txt", "\xff\xfea\x00b\x00", "", "UTF-16"},
		{"broken.txt", "{\"instruction\": \"a\"\n", "1", "incomplete"},
		{"book.jsonl", "Call me Ishmael.\n", "1", "called .txt"},
	} {
		_, _, err := plainTexts(t, c.file, c.data, ReadOptions{MaxRowBytes: 64})
		var bad *ValidationError
		if !errors.As(err, &bad) || bad.Lines.String() != c.lines || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; lines of it %q, want %q and %q", c.file, err, bad.Lines, c.lines, c.says)
		}
	}
}
