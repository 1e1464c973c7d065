package dataset

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"os"
)

// tokenBytes is the size of a token on disk: its id, and in the highest bit whether it is trained.
const (
	tokenBytes = 4
	trainedBit = 1 << 31
)

// spool keeps the tokens of rows in a file without a name, from which the rows come back in any order: in memory a million
// rows are a gigabyte, on disk the system keeps as much of it at hand as there is room for.
type spool struct {
	blocks
	out    *bufio.Writer
	tokens int64
	size   int64 // tokens of a block
	buf    []byte
}

// unnamedFile makes a file in dir, where the shards are, or where temporary files go if dir can't be written. Without a name
// it is gone when it is closed, which happens by itself when nobody has it any more.
func unnamedFile(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, ".rows-*")
	if err != nil {
		if file, err = os.CreateTemp("", "descant-rows-*"); err != nil {
			return nil, fmt.Errorf("make a file for the rows: %w", err)
		}
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, fmt.Errorf("make a file for the rows: %w", err)
	}
	return file, nil
}

// newSpool makes a spool in dir whose blocks have about size tokens.
func newSpool(dir string, size int64) (*spool, error) {
	file, err := unnamedFile(dir)
	if err != nil {
		return nil, err
	}
	return &spool{blocks: newBlocks(file), out: bufio.NewWriterSize(file, 1<<20), size: size}, nil
}

// add appends a row. Labels are their ids or IgnoreLabel.
func (s *spool) add(ids, labels []int32) error {
	s.buf = s.buf[:0]
	for i, id := range ids {
		token := uint32(id)
		if labels[i] != IgnoreLabel {
			token |= trainedBit
		}
		s.buf = binary.LittleEndian.AppendUint32(s.buf, token)
	}
	if _, err := s.out.Write(s.buf); err != nil {
		return fmt.Errorf("put rows aside on disk: %w", err)
	}
	s.grow(s.tokens, s.size)
	s.tokens += int64(len(ids))
	return nil
}

func (s *spool) flush() error {
	s.buf = nil
	if err := s.out.Flush(); err != nil {
		return fmt.Errorf("put rows aside on disk: %w", err)
	}
	s.out = nil
	s.bounds = append(s.bounds, s.tokens)
	return nil
}

// tokensOf are the ids and labels of a row as it lies on disk.
func tokensOf(data []byte) (ids, labels []int32) {
	n := len(data) / tokenBytes
	all := make([]int32, 2*n)
	ids, labels = all[:n:n], all[n:]
	for i := range ids {
		token := binary.LittleEndian.Uint32(data[tokenBytes*i:])
		ids[i], labels[i] = int32(token&^trainedBit), IgnoreLabel
		if token&trainedBit != 0 {
			labels[i] = ids[i]
		}
	}
	return ids, labels
}
