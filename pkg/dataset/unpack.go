package dataset

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// unpackError is packed data that doesn't even begin well.
type unpackError struct{ error }

func (e unpackError) Unwrap() error { return e.error }

var errUnpacked = errors.New("it grows beyond the size limit")

// limitedReader fails when more than left bytes come out of a packed file.
type limitedReader struct {
	in   io.Reader
	left int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.in.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errUnpacked
	}
	return n, err
}

// maxWindow bounds the memory that a zstd file may ask for.
const maxWindow = 128 << 20

// unpacker opens the packing of a format, or nothing for a format that is none.
func unpacker(format Format, in io.Reader) (io.Reader, error) {
	switch format {
	case FormatGzip:
		return gzip.NewReader(in)
	case FormatZstd:
		// Decoding while reading: a decoder with goroutines of its own would have to be closed.
		return zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	}
	return nil, nil
}

// unpack reads through gzip or zstd and looks at what is inside.
func (r *Reader) unpack(in *bufio.Reader, d Detection) (*bufio.Reader, Detection, error) {
	inner, err := unpacker(d.Format, in)
	if err != nil {
		return nil, d, unpackError{err}
	}
	if inner == nil {
		return in, d, nil
	}
	r.report.Packed = d.Format
	r.report.remark("the file is packed with %s; it was unpacked while reading", d.Format)
	out := bufio.NewReaderSize(&limitedReader{in: inner, left: r.opts.MaxUnpackedBytes}, headSize)
	head, err := out.Peek(headSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, d, unpackError{err}
	}
	d = r.detect(head, errors.Is(err, io.EOF))
	switch d.Format {
	case FormatGzip, FormatZstd:
		d = Detection{Format: FormatOther, Found: fmt.Sprintf("the file is packed twice, with %s and in it %s", r.report.Packed, d.Format), Hint: "unpack it once"}
	case FormatParquet:
		d = Detection{Format: FormatOther, Found: fmt.Sprintf("the file is Parquet packed with %s", r.report.Packed), Hint: "unpack it: Parquet is compressed inside"}
	}
	return out, d, nil
}

// damaged says whether an error that ended the reading is one of unpacking.
func (r *Reader) damaged(err error) bool {
	var bad unpackError
	return errors.As(err, &bad) || r.report.Packed != "" && !errors.Is(err, io.EOF) && (errors.Is(err, gzip.ErrChecksum) || errors.Is(err, gzip.ErrHeader) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errUnpacked) || r.report.Packed == FormatZstd)
}
