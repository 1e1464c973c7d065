package dataset

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

// arrangement is a copy of rows on disk in which those that an order wants one after the other lie in the same block, in any
// order within it. Making and reading it goes through the file from its beginning to its end.
type arrangement struct {
	blocks
	starts []int64 // of row i, in tokens; -1 for rows that the order does not have
}

const (
	// blockTokens is the size of a block on disk, 4 MiB. Of 256 blocks and more only so many are made, each larger.
	blockTokens = 1 << 20
	mostBlocks  = 256
	// scatterBuffer is what is collected of a block before it is written: 8 MiB for all of them.
	scatterBuffer = 32 << 10
)

// Arrange prepares for rows to be wanted in this order, as in an epoch: without it every row of a file that does not fit into
// memory is a read of its own, somewhere on the disk. It takes as much disk as the tokens, 4 bytes each. Rows may still be
// taken in any order. An arrangement replaces the one before. After an error rows come as without one.
func (s *Shards) Arrange(order []int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.forget(); err != nil {
		return err
	}
	if len(s.tokens.bounds) <= 2 {
		return nil // all rows are one block
	}
	made, err := s.arrange(order)
	if err != nil {
		return fmt.Errorf("arrange rows on disk: %w", err)
	}
	s.arranged = made
	return nil
}

// forget drops the arrangement.
func (s *Shards) forget() error {
	if s.arranged == nil {
		return nil
	}
	file := s.arranged.file
	s.arranged = nil
	return file.Close()
}

func (s *Shards) arrange(order []int) (a *arrangement, err error) {
	file, err := unnamedFile(filepath.Dir(s.tokens.file.Name()))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	a = &arrangement{blocks: newBlocks(file), starts: make([]int64, s.Len())}
	size := max(s.tokens.size, s.tokens.tokens/mostBlocks)
	numbers := make([]int32, s.Len()) // block of every row, from 1; 0 for none
	var total int64
	for _, i := range order {
		a.grow(total, size)
		numbers[i] = int32(len(a.bounds))
		total += s.starts[i+1] - s.starts[i]
	}
	next := append([]int64(nil), a.bounds...) // where the next row of a block goes
	a.bounds = append(a.bounds, total)
	out := &scatter{a: a, buffers: make([][]byte, len(next)), written: append([]int64(nil), next...)}
	in := bufio.NewReaderSize(io.NewSectionReader(s.tokens.file, 0, tokenBytes*s.tokens.tokens), 1<<20)
	for i, number := range numbers {
		n := s.starts[i+1] - s.starts[i]
		if number == 0 {
			a.starts[i] = -1
			if _, err := in.Discard(int(tokenBytes * n)); err != nil {
				return nil, err
			}
			continue
		}
		a.starts[i] = next[number-1]
		next[number-1] += n
		if err := out.copy(int(number-1), in, int(tokenBytes*n)); err != nil {
			return nil, err
		}
	}
	return a, out.flush()
}

// scatter writes rows to the ends of many blocks.
type scatter struct {
	a       *arrangement
	buffers [][]byte
	written []int64 // end of what is written of a block, in tokens
}

func (s *scatter) copy(number int, in io.Reader, size int) error {
	buf := s.buffers[number]
	at := len(buf)
	buf = append(buf, make([]byte, size)...)
	s.buffers[number] = buf
	if _, err := io.ReadFull(in, buf[at:]); err != nil {
		return err
	}
	if len(buf) < scatterBuffer {
		return nil
	}
	return s.write(number)
}

func (s *scatter) write(number int) error {
	buf := s.buffers[number]
	if _, err := s.a.file.WriteAt(buf, tokenBytes*s.written[number]); err != nil {
		return err
	}
	s.written[number] += int64(len(buf) / tokenBytes)
	s.buffers[number] = buf[:0]
	return nil
}

func (s *scatter) flush() error {
	for number := range s.buffers {
		if err := s.write(number); err != nil {
			return err
		}
	}
	return nil
}
