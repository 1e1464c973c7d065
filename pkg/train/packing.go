package train

import (
	"cmp"
	"math/bits"
	"slices"
)

// bestFit packs items of the given sizes (each at most capacity) into bins by best-fit decreasing: the largest item
// first, each into the fullest bin that still takes it. It gives the items of every bin, in the order in which the bins
// were opened; the same sizes give the same bins. n items take O(n log n + n·capacity/64).
func bestFit(sizes []int, capacity int) [][]int {
	order := make([]int, len(sizes))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(sizes[b], sizes[a]) })
	var bins [][]int
	// byRoom are the open bins by the room that is left in them; a bit of some tells where there is one.
	byRoom := make([][]int, capacity+1)
	some := make([]uint64, capacity/64+1)
	// least is the smallest room of an open bin that takes a size, or -1.
	least := func(size int) int {
		word := some[size/64] >> (size % 64) << (size % 64)
		for i := size / 64; ; word = some[i] {
			if word != 0 {
				return i*64 + bits.TrailingZeros64(word)
			}
			if i++; i == len(some) {
				return -1
			}
		}
	}
	for _, item := range order {
		room := least(sizes[item])
		bin := len(bins)
		if room < 0 {
			room = capacity
			bins = append(bins, nil)
		} else {
			open := byRoom[room]
			bin, byRoom[room] = open[len(open)-1], open[:len(open)-1]
			if len(open) == 1 {
				some[room/64] &^= 1 << (room % 64)
			}
		}
		bins[bin] = append(bins[bin], item)
		room -= sizes[item]
		byRoom[room] = append(byRoom[room], bin)
		some[room/64] |= 1 << (room % 64)
	}
	return bins
}

// pack makes the batches of packs: rows of the dataset that share a lane, up to the capacity in tokens.
func (b *batches) pack(capacity int) {
	lengths := make([]int, b.rows.Len())
	for i := range lengths {
		lengths[i] = b.length(i)
	}
	b.packs = bestFit(lengths, capacity)
	b.epoch = -1 // the order is another one now
}

// units is the number of units in an epoch: packs, or rows of the dataset.
func (b *batches) units() int {
	if b.packs != nil {
		return len(b.packs)
	}
	return b.rows.Len()
}

// unit gives the rows of the dataset in a unit.
func (b *batches) unit(i int) []int {
	if b.packs != nil {
		return b.packs[i]
	}
	return []int{i}
}

// length is the number of tokens of a row, size that of a unit.
func (b *batches) length(row int) int { return int(b.lengths[row]) }

func (b *batches) size(unit int) int {
	total := 0
	for _, row := range b.unit(unit) {
		total += b.length(row)
	}
	return total
}

// orderOf is the order of the units in an epoch. Packs come in the order of the rows that were packed first.
func (b *batches) orderOf(epoch int) []int {
	order := b.rows.Order(b.seed, epoch)
	if b.packs == nil {
		return order
	}
	place := make([]int, len(order))
	for at, row := range order {
		place[row] = at
	}
	packs := make([]int, len(b.packs))
	for i := range packs {
		packs[i] = i
	}
	slices.SortFunc(packs, func(i, k int) int { return cmp.Compare(place[b.packs[i][0]], place[b.packs[k][0]]) })
	return packs
}
