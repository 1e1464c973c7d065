package dataset

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
)

// spool keeps the tokens of rows in a file without a name, 8 bytes a token, from which the rows come back in any order:
// in memory a million rows are a gigabyte, on disk the system keeps as much of it at hand as there is room for.
type spool struct {
	file   *os.File
	out    *bufio.Writer
	tokens int64
	buf    []byte
}

// newSpool makes the file in dir, where the shards are, or where temporary files go if dir can't be written.
func newSpool(dir string) (*spool, error) {
	file, err := os.CreateTemp(dir, ".rows-*")
	if err != nil {
		if file, err = os.CreateTemp("", "descant-rows-*"); err != nil {
			return nil, fmt.Errorf("make a file for the rows: %w", err)
		}
	}
	// Without a name it is gone when it is closed, which happens by itself when nobody has it any more.
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, fmt.Errorf("make a file for the rows: %w", err)
	}
	return &spool{file: file, out: bufio.NewWriterSize(file, 1<<20)}, nil
}

// add appends a row.
func (s *spool) add(ids, labels []int32) error {
	s.buf = s.buf[:0]
	for _, list := range [][]int32{ids, labels} {
		for _, x := range list {
			s.buf = binary.LittleEndian.AppendUint32(s.buf, uint32(x))
		}
	}
	if _, err := s.out.Write(s.buf); err != nil {
		return fmt.Errorf("put rows aside on disk: %w", err)
	}
	s.tokens += int64(len(ids))
	return nil
}

func (s *spool) flush() error {
	s.buf = nil
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("put rows aside on disk: %w", err)
	}
	return nil
}

// row reads the n tokens that begin at token `from`. It is safe for concurrent use. It panics when the disk fails: there
// is nothing that a training could do without its rows.
func (s *spool) row(from int64, n int) (ids, labels []int32) {
	data := make([]byte, 8*n)
	if _, err := s.file.ReadAt(data, 8*from); err != nil {
		panic(fmt.Errorf("dataset: read rows back from disk: %w", err))
	}
	all := make([]int32, 2*n)
	for i := range all {
		all[i] = int32(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return all[:n:n], all[n:]
}
