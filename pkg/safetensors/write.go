package safetensors

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// Tensor is one tensor to be written.
type Tensor struct {
	Name  string
	DType DType
	Shape []int
	// Data is the content, row-major, little endian.
	Data []byte
	// Stream writes the content instead of Data when it is not nil, for tensors that are made while they
	// are written. It must write exactly the bytes that type and shape call for.
	Stream func(w io.Writer) error
}

// Write writes a safetensors file with the very bytes that Hugging Face's library writes for the same
// tensors and metadata: tensors by element type (the widest first), then by name; the header padded with
// spaces to a multiple of 8. (That library leaves the order of several metadata keys to chance; here they
// are sorted.) The file appears under its name only when it is complete and on disk: it is written next
// to it, synced and renamed.
func Write(path string, tensors []Tensor, metadata map[string]string) error {
	ordered, head, err := layout(tensors, metadata)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	err = WriteAtomic(path, func(w io.Writer) error { return writeAll(w, ordered, head) })
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// Encode returns the bytes that Write would put into a file.
func Encode(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	ordered, head, err := layout(tensors, metadata)
	if err != nil {
		return nil, fmt.Errorf("encode safetensors: %w", err)
	}
	var buf bytes.Buffer
	if err := writeAll(&buf, ordered, head); err != nil {
		return nil, fmt.Errorf("encode safetensors: %w", err)
	}
	return buf.Bytes(), nil
}

func writeAll(w io.Writer, ordered []Tensor, head []byte) error {
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, t := range ordered {
		want, err := byteCount(t.DType, t.Shape, math.MaxInt)
		if err != nil {
			return err
		}
		counter := &countingWriter{w: w}
		if t.Stream != nil {
			err = t.Stream(counter)
		} else {
			_, err = counter.Write(t.Data)
		}
		if err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if counter.n != want {
			return fmt.Errorf("tensor %q is %s and needs %d bytes, got %d", t.Name, Info{t.DType, t.Shape}, want, counter.n)
		}
	}
	return nil
}

// layout orders the tensors and builds length and header of the file.
func layout(tensors []Tensor, metadata map[string]string) ([]Tensor, []byte, error) {
	ordered := slices.Clone(tensors)
	sort.SliceStable(ordered, func(i, j int) bool {
		_, a := ordered[i].DType.size()
		_, b := ordered[j].DType.size()
		if a != b {
			return a > b
		}
		return ordered[i].Name < ordered[j].Name
	})
	var text strings.Builder
	text.WriteByte('{')
	if len(metadata) > 0 {
		if err := writeMetadata(&text, metadata); err != nil {
			return nil, nil, err
		}
	}
	seen := map[string]bool{}
	offset := 0
	for _, t := range ordered {
		if seen[t.Name] || t.Name == metadataKey || !utf8.ValidString(t.Name) {
			return nil, nil, fmt.Errorf("tensor name %q is used twice, reserved or not valid UTF-8", t.Name)
		}
		seen[t.Name] = true
		n, err := byteCount(t.DType, t.Shape, math.MaxInt-offset)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if text.Len() > 1 {
			text.WriteByte(',')
		}
		writeString(&text, t.Name)
		fmt.Fprintf(&text, `:{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]}`,
			t.DType, joinInts(t.Shape), offset, offset+n)
		offset += n
	}
	text.WriteByte('}')
	for text.Len()%8 != 0 {
		text.WriteByte(' ')
	}
	if text.Len() > maxHeader {
		return nil, nil, fmt.Errorf("the header would have %d bytes, more than the %d allowed", text.Len(), maxHeader)
	}
	head := binary.LittleEndian.AppendUint64(nil, uint64(text.Len()))
	return ordered, append(head, text.String()...), nil
}

func writeMetadata(text *strings.Builder, metadata map[string]string) error {
	keys := make([]string, 0, len(metadata))
	for k, v := range metadata {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return fmt.Errorf("metadata %q is not valid UTF-8", k)
		}
		keys = append(keys, k)
	}
	sort.Strings(keys)
	text.WriteString(`"` + metadataKey + `":{`)
	for i, k := range keys {
		if i > 0 {
			text.WriteByte(',')
		}
		writeString(text, k)
		text.WriteByte(':')
		writeString(text, metadata[k])
	}
	text.WriteByte('}')
	return nil
}

func joinInts(values []int) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = fmt.Sprint(v)
	}
	return strings.Join(parts, ",")
}

// writeString writes a JSON string that escapes no more than JSON demands, as the reference does;
// encoding/json also escapes U+2028 and U+2029, which would change the bytes of a file.
func writeString(b *strings.Builder, s string) {
	short := map[rune]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}
	b.WriteByte('"')
	for _, r := range s {
		switch esc, ok := short[r]; {
		case ok:
			b.WriteString(esc)
		case r < 0x20:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

type countingWriter struct {
	w io.Writer
	n int
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += n
	return n, err
}

// WriteAtomic makes a file appear whole or not at all, also across a power cut: content to a temporary
// file in the same folder, sync, rename, sync of the folder.
func WriteAtomic(path string, content func(w io.Writer) error) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close() // already closed on some paths; the first error is the one to report
			_ = os.Remove(tmp.Name())
		}
	}()
	buffered := bufio.NewWriterSize(tmp, 1<<20)
	if err = content(buffered); err != nil {
		return err
	}
	if err = buffered.Flush(); err != nil {
		return err
	}
	if err = tmp.Chmod(0o644); err != nil {
		return err
	}
	if err = tmp.Sync(); err != nil {
		return err
	}
	if err = tmp.Close(); err != nil {
		return err
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close()
		return err
	}
	return d.Close()
}
