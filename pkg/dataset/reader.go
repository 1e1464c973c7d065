package dataset

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/maphash"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"unicode/utf8"

	"descant/pkg/chat"
)

// ReadOptions bound what a reader accepts.
type ReadOptions struct {
	// MaxRowBytes is the size of the longest row that is read. Defaults to 64 MiB.
	MaxRowBytes int
	// MaxUnpackedBytes is the size to which a packed file may grow. Defaults to 16 GiB.
	MaxUnpackedBytes int64
	// MaxProblems is the number of problems that a ValidationError lists one by one. Defaults to 20.
	MaxProblems int
	// Columns names the columns of the file that stand for fields: {"output": "answer"} reads the column "answer" as the
	// field "output". Its keys are those of Fields.
	Columns map[string]string
	// System is a system text for conversations that have none.
	System string
}

func (o ReadOptions) withDefaults() ReadOptions {
	if o.MaxRowBytes <= 0 {
		o.MaxRowBytes = 64 << 20
	}
	if o.MaxUnpackedBytes <= 0 {
		o.MaxUnpackedBytes = 16 << 30
	}
	if o.MaxProblems <= 0 {
		o.MaxProblems = 20
	}
	return o
}

// Row is one training example.
type Row struct {
	// Index counts the rows of the file that can be trained, from 0.
	Index int
	// Line is the physical line on which the row begins, from 1, or 0 in Parquet. Place is its place in a JSON array or in
	// Parquet, from 1, or 0.
	Line, Place int
	// Shape is how the row was written.
	Shape Shape
	// Messages is the conversation; its last turn is the assistant's.
	Messages []chat.Message
	// Tools is a JSON list of tool descriptions in the bytes of the file (the order of keys matters), or nil.
	Tools json.RawMessage
	// Text is the text of a plain text row, which has no messages.
	Text string
	// Weights say for each message whether it is trained, where the row says so itself; else nil.
	Weights []bool
}

// Where is the place of the row in words.
func (r Row) Where() string { return where(r.Line, r.Place) }

// place counts what people count: the rows of an array or table, else the lines.
func (r Row) place() int {
	if r.Place > 0 {
		return r.Place
	}
	return r.Line
}

// Reader reads rows one by one, in memory that does not depend on their number.
type Reader struct {
	opts     ReadOptions
	raw      *countingReader
	src      source
	report   Report
	problems problemList
	queue    []Row
	seed     maphash.Seed
	seen     map[uint64]uint32 // place of the first row with a digest
	done     error
}

// maxCompared bounds the memory of looking for repeated rows.
const maxCompared = 1 << 20

type countingReader struct {
	in   io.Reader
	hash hash.Hash
	// count is read by others while the reading goes on.
	count atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.hash.Write(p[:n])
	c.count.Add(int64(n))
	return n, err
}

// NewReader starts to read a dataset from in; name is what messages call it (a path is shown by its last part), and where
// [IsText] holds for it the file may be a plain text. Nothing is read before the first call of Next.
func NewReader(in io.Reader, name string, opts ReadOptions) *Reader {
	opts = opts.withDefaults()
	r := &Reader{opts: opts, seed: maphash.MakeSeed(), seen: map[uint64]uint32{}}
	r.raw = &countingReader{in: in, hash: sha256.New()}
	r.report.File = filepath.Base(name)
	r.problems.max = opts.MaxProblems
	return r
}

// Next returns the next row that can be trained. It goes on behind bad rows, so that at the end all problems are known:
// then it returns io.EOF when there was none, or a *ValidationError. Any other error is one of reading the file.
func (r *Reader) Next() (Row, error) {
	for len(r.queue) == 0 {
		if r.done != nil {
			return Row{}, r.done
		}
		if err := r.advance(); err != nil {
			r.done = r.finish(err)
		}
	}
	row := r.queue[0]
	r.queue = r.queue[1:]
	return row, nil
}

// Failed says whether a problem was found so far: the rows that still come will not be trained.
func (r *Reader) Failed() bool { return r.problems.total > 0 }

// Report is what was read; complete once Next has returned an error.
func (r *Reader) Report() *Report { return &r.report }

func (r *Reader) problem(p Problem) { r.problems.add(p) }

// Refuse adds a problem that was found with a row later, when it was rendered or cut. Reading goes on, to find the others.
func (r *Reader) Refuse(row Row, err error) {
	var bad *RowError
	if errors.As(err, &bad) {
		r.problem(bad.Problem)
		return
	}
	r.problem(templateProblem(row, err))
}

func (r *Reader) err() error { return r.problems.err(r.report.File, r.report.Rows) }

// advance reads one record and queues its rows.
func (r *Reader) advance() error {
	if r.src == nil {
		return r.open()
	}
	rec, err := r.src.next()
	if err != nil {
		return err
	}
	if rec.bad != nil {
		r.problem(*rec.bad)
		return nil
	}
	if rec.val == nil && len(bytes.Trim(rec.data, " \t\r\n")) == 0 {
		if !rec.last {
			r.report.BlankLines++
		}
		return nil
	}
	r.record(rec)
	return nil
}

// open recognises the format and prepares the source.
func (r *Reader) open() error {
	in := bufio.NewReaderSize(r.raw, headSize)
	head, err := in.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	in, d, err := r.unpack(in, r.detect(head, errors.Is(err, io.EOF)))
	if err != nil {
		return err
	}
	r.report.Format = d.Format
	switch d.Format {
	case FormatEmpty:
		r.problem(Problem{Code: CodeEmptyFile, Found: "the file is empty (0 bytes)", Hint: "check the path, or download it again"})
		return io.EOF
	case FormatOther:
		r.problem(Problem{Code: CodeFormat, Found: d.Found, Hint: d.Hint})
		return io.EOF
	}
	offset := int64(0)
	if d.BOM {
		_, _ = in.Discard(len(utf8BOM)) // was peeked at
		offset = int64(len(utf8BOM))
		r.report.remark("a byte order mark at the start was skipped")
	}
	switch d.Format {
	case FormatJSONL, FormatText:
		lines := &lineSource{in: in, end: '\n', max: r.opts.MaxRowBytes, offset: offset}
		if d.CROnly {
			lines.end = '\r'
			r.report.remark("lines end with CR alone (old Mac); each was read as a line")
		}
		r.src = lines
		if d.Format == FormatText {
			head, _ := in.Peek(headSize) // as much as there is; an error comes again when it is read
			r.src = r.newTextSource(lines, head)
		}
	case FormatTable:
		r.src = newTableSource(in, d.Comma, r.opts.MaxRowBytes)
		r.report.remark("the file was read as a CSV table whose cells are separated by %q", d.Comma)
	case FormatParquet:
		src, err := newParquetSource(r.raw.in)
		if err != nil {
			return err
		}
		r.src = src
		r.report.remark("the file was read as Parquet")
	default:
		r.src = &valueSource{in: in, array: d.Format == FormatArray, max: r.opts.MaxRowBytes, offset: offset}
	}
	return nil
}

// detect is Detect, which a mapping of columns helps to recognise a table by its first line, and the name of the file to
// recognise a plain text.
func (r *Reader) detect(head []byte, whole bool) Detection {
	d := detect(head, whole, slices.Collect(maps.Values(r.opts.Columns)))
	if IsText(r.report.File) {
		d = d.orText(head)
	}
	return d
}

// finish completes the report and turns the error that ended the reading into the one that Next returns.
func (r *Reader) finish(err error) error {
	switch {
	case r.damaged(err):
		what := cmp.Or(r.report.Packed, r.report.Format, "packed")
		code := CodeDamaged
		if what == FormatGzip {
			code = CodeUnpack
		}
		r.problem(Problem{Code: code, Found: fmt.Sprintf("the %s data can't be unpacked: %v", what, err), Hint: "download the file again, or unpack it by its own tool and try that"})
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("read dataset %s: %w", r.report.File, err)
	}
	if _, err := io.Copy(io.Discard, r.raw); err != nil { // the digest is that of the whole file
		return fmt.Errorf("read dataset %s: %w", r.report.File, err)
	}
	if text, ok := r.src.(*textSource); ok && text.crlf {
		r.report.remark("lines end with CRLF; in the texts they end with LF")
	}
	r.report.Bytes = r.raw.count.Load()
	r.report.Digest = "sha256:" + hex.EncodeToString(r.raw.hash.Sum(nil))
	if r.report.Rows == 0 && !r.Failed() {
		p := Problem{Code: CodeNoRows, Found: "no row was found", Hint: `write one row a line, such as {"instruction": "…", "input": "", "output": "…"}`}
		if n := r.report.LeftOut.Count; n > 0 {
			p.Found = fmt.Sprintf("no row is left: %d rows have nothing to train on, such as an empty answer (lines %s)", n, r.report.LeftOut.Lines)
			p.Hint = "fill in the texts"
		}
		r.problem(p)
	}
	if err := r.err(); err != nil {
		return err
	}
	return io.EOF
}

// repeated notes a row that is equal to an earlier one.
func (r *Reader) repeated(row Row) {
	var h maphash.Hash
	h.SetSeed(r.seed)
	h.WriteString(row.Text)
	for _, m := range row.Messages {
		for _, s := range []string{m.Role, m.Content, string(m.ToolCalls)} {
			h.WriteString(s)
			h.WriteByte(0xff)
		}
	}
	h.Write(row.Tools)
	sum := h.Sum64()
	place := row.place()
	if first, old := r.seen[sum]; old {
		r.report.repeat(place, int(first))
	} else if len(r.seen) < maxCompared {
		r.seen[sum] = uint32(min(place, math.MaxUint32))
	} else {
		r.report.NotCompared++
	}
}

// ReadFile reads all rows of a file into memory. For small files; use NewReader for the others.
func ReadFile(path string, opts ReadOptions) ([]Row, *Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("open dataset: %w", err)
	}
	defer f.Close()
	return ReadAll(f, path, opts)
}

// ReadAll reads all rows into memory. The rows are the good ones even when the error is a *ValidationError.
func ReadAll(in io.Reader, name string, opts ReadOptions) ([]Row, *Report, error) {
	r := NewReader(in, name, opts)
	var rows []Row
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return rows, r.Report(), nil
		}
		if err != nil {
			return rows, r.Report(), err
		}
		rows = append(rows, row)
	}
}

// Validate reads a dataset to its end and keeps no row. The error is a *ValidationError with all problems.
func Validate(in io.Reader, name string, opts ReadOptions) (*Report, error) {
	r := NewReader(in, name, opts)
	for {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			return r.Report(), nil
		} else if err != nil {
			return r.Report(), err
		}
	}
}

// validUTF8 returns the offset of the first byte that is no UTF-8, or -1, and whether it begins a character that is cut
// off by the end of the data.
func validUTF8(b []byte) (int, bool) {
	if utf8.Valid(b) {
		return -1, false
	}
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i, !utf8.FullRune(b[i:])
		}
		i += n
	}
	return -1, false
}
