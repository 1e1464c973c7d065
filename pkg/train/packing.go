package train

import (
	"cmp"
	"math/bits"
	"slices"

	"descant/pkg/model"
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

// pack makes the batches of packs: rows of the dataset that share a row of a rectangle, up to the capacity in tokens.
func (b *batches) pack(capacity int) {
	lengths := make([]int, b.rows.Len())
	for i := range lengths {
		lengths[i] = b.length(i)
	}
	b.packs = bestFit(lengths, capacity)
	sizes := make([]int, len(b.packs))
	for i := range sizes {
		sizes[i] = b.size(i)
	}
	b.widths = chooseWidths(sizes)
}

// units is the number of rows of rectangles in an epoch: packs, or rows of the dataset.
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
func (b *batches) length(row int) int {
	ids, _ := b.rows.Row(row)
	return len(ids)
}

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

// isolation gives what keeps the documents of a packed rectangle apart: the tables of angles cos and sin [rows, width,
// HeadDim/2], whose positions begin anew with every document, and the number of each token's document [rows, width]
// int32, 0 at padding. The caller frees them.
func (e *engine) isolation(b *microBatch) (arrays []*model.Array, err error) {
	positions, segments := make([]int, len(b.ids)), make([]int32, len(b.ids))
	for number, d := range b.documents {
		for t := range d.length {
			positions[d.start+t], segments[d.start+t] = t, int32(number+1)
		}
	}
	cos, sin := e.config.Rope.Tables(positions)
	half := len(e.config.Rope.InvFreq)
	for _, table := range [][]float32{cos, sin} {
		a, err := model.Upload(e.compiler.Backend(), table, b.rows, b.width, half)
		if err != nil {
			model.FreeAll(arrays...)
			return nil, err
		}
		arrays = append(arrays, a)
	}
	a, err := model.Upload(e.compiler.Backend(), segments, b.rows, b.width)
	if err != nil {
		model.FreeAll(arrays...)
		return nil, err
	}
	return append(arrays, a), nil
}
