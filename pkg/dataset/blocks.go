package dataset

import (
	"fmt"
	"os"
	"sort"
)

// blocks reads rows from a file, a block of many rows at a time where they are wanted one after the other, else one by one.
// It is not safe for concurrent use.
type blocks struct {
	file *os.File
	// bounds are where blocks begin and the last one ends, in tokens.
	bounds []int64
	// kept are the newest two blocks: the rows of a step may lie on both sides of a bound.
	kept [2]block
	// lone is the block of the latest rows that were read one by one, loneRows how many they are.
	lone, loneRows int
	// reads and bytes are what was asked of the file.
	reads, bytes int64
}

// block is a block in memory; served counts the bytes of rows that were taken from it.
type block struct {
	number int // -1 for none
	data   []byte
	served int
}

// loneMost is how many rows of a block in a row are read alone before the whole block is.
const loneMost = 16

func newBlocks(file *os.File) blocks {
	return blocks{file: file, kept: [2]block{{number: -1}, {number: -1}}, lone: -1}
}

// grow begins a block at a token, where the newest one has size tokens or more.
func (b *blocks) grow(token, size int64) {
	if n := len(b.bounds); n == 0 || token-b.bounds[n-1] >= size {
		b.bounds = append(b.bounds, token)
	}
}

// row is the row of n tokens at a token, if it is in memory or its block is worth reading; nil otherwise. It is valid until
// the next call.
func (b *blocks) row(from int64, n int) ([]byte, error) {
	number := sort.Search(len(b.bounds), func(i int) bool { return b.bounds[i] > from }) - 1
	if !b.has(number) {
		if !b.worth(number) {
			return nil, nil
		}
		if err := b.load(number); err != nil {
			return nil, err
		}
		if b.lone == number { // what was read alone was of use, too
			b.kept[0].served = len(b.kept[0].data) / 2
		}
	}
	at := &b.kept[0]
	if at.number != number {
		at = &b.kept[1]
	}
	size := tokenBytes * n
	at.served += size
	start := tokenBytes * int(from-b.bounds[number])
	return at.data[start : start+size : start+size], nil
}

func (b *blocks) has(number int) bool {
	return b.kept[0].number == number || b.kept[1].number == number
}

// worth says whether more rows of a block will be wanted: it is the first one, or follows one that was used up, or several
// rows of it came one after the other.
func (b *blocks) worth(number int) bool {
	newest := &b.kept[0]
	if newest.number < 0 || number == newest.number+1 && 2*newest.served >= len(newest.data) {
		return true
	}
	if b.lone != number {
		b.lone, b.loneRows = number, 0
	}
	b.loneRows++
	return b.loneRows > loneMost
}

// load reads a block in place of the older one.
func (b *blocks) load(number int) error {
	b.kept[0], b.kept[1] = b.kept[1], b.kept[0]
	at := &b.kept[0]
	size := tokenBytes * int(b.bounds[number+1]-b.bounds[number])
	if cap(at.data) < size {
		at.data = make([]byte, size)
	}
	at.number, at.data, at.served = -1, at.data[:size], 0 // none, if reading fails
	if err := b.read(at.data, b.bounds[number]); err != nil {
		return err
	}
	at.number = number
	return nil
}

// alone reads a row without its block.
func (b *blocks) alone(from int64, n int) ([]byte, error) {
	data := make([]byte, tokenBytes*n)
	return data, b.read(data, from)
}

func (b *blocks) read(data []byte, from int64) error {
	b.reads++
	b.bytes += int64(len(data))
	if _, err := b.file.ReadAt(data, tokenBytes*from); err != nil {
		return fmt.Errorf("read rows back from disk: %w", err)
	}
	return nil
}
