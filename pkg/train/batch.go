package train

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// ignore is the label of a token that is not trained.
const ignore = -100

// Rows is tokenised training data, for example *dataset.Shards.
type Rows interface {
	// Len is the number of rows.
	Len() int
	// Row gives token ids and as many labels, -100 where nothing is trained.
	Row(i int) (ids, labels []int32)
	// Order is the permutation of the rows in an epoch; it depends on nothing but seed, epoch and Len.
	Order(seed int64, epoch int) []int
}

// microBatch is a rectangle of rows of tokens, padded on the right.
type microBatch struct {
	rows, width int
	// index are the rows that it holds.
	index []int
	// ids are the tokens [rows·width], 0 at padding.
	ids []int32
	// places are the flat positions whose output predicts a trained token, labels those tokens.
	places, labels []int32
	// tokens counts the tokens without padding.
	tokens int
	// documents are the rows of the dataset in the rectangle. When it is packed a row of it may hold several, which
	// must not see one another.
	documents []document
	packed    bool
}

// document is where a row of the dataset lies: its first flat position and its number of tokens.
type document struct{ start, length int }

// batches cuts the rows into steps and micro-batches. What a step holds follows from its number and the seed
// alone.
type batches struct {
	rows         Rows
	seed         int64
	batch        int
	accumulation int
	widths       []int
	vocab        int
	packs        [][]int // rows of the dataset in each pack, nil without packing

	epoch int
	order []int
}

// newBatches looks at all rows once: it checks them and chooses the widths.
func newBatches(rows Rows, seed int64, batch, accumulation, maxLength, vocab int) (*batches, error) {
	b := &batches{rows: rows, seed: seed, batch: batch, accumulation: accumulation, vocab: vocab, epoch: -1}
	if rows.Len() == 0 {
		return nil, errors.New("the dataset has no rows: nothing can be trained")
	}
	lengths := make([]int, rows.Len())
	trained := false
	for i := range lengths {
		ids, labels := rows.Row(i)
		if err := checkRow(ids, labels, maxLength, vocab); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
		lengths[i] = len(ids)
		trained = trained || slices.ContainsFunc(labels[1:], func(l int32) bool { return l != ignore })
	}
	if !trained {
		return nil, fmt.Errorf("no token of the dataset is trained: all labels are %d", ignore)
	}
	b.widths = chooseWidths(lengths)
	return b, nil
}

func checkRow(ids, labels []int32, maxLength, vocab int) error {
	switch {
	case len(ids) == 0:
		return errors.New("it has no tokens")
	case len(ids) != len(labels):
		return fmt.Errorf("%d tokens and %d labels", len(ids), len(labels))
	case len(ids) > maxLength:
		return fmt.Errorf("%d tokens are more than max_length %d", len(ids), maxLength)
	}
	for i, id := range ids {
		if id < 0 || int(id) >= vocab {
			return fmt.Errorf("token %d has id %d, the model's vocabulary ends at %d: is this dataset tokenised for another base?", i, id, vocab)
		}
		if l := labels[i]; l != ignore && (l < 0 || int(l) >= vocab) {
			return fmt.Errorf("token %d has label %d, neither a token nor %d", i, l, ignore)
		}
	}
	return nil
}

// perEpoch is the number of steps in one pass over the rows; the last one may hold fewer rows.
func (b *batches) perEpoch() int {
	rows := b.batch * b.accumulation
	return (b.units() + rows - 1) / rows
}

// step gives the micro-batches of a step that counts from 0. Its rows are sorted by length first, so that rows
// of similar length share a rectangle; the sum over the step is the same in any grouping.
func (b *batches) step(step int) []*microBatch {
	if epoch := step / b.perEpoch(); epoch != b.epoch {
		b.epoch, b.order = epoch, b.orderOf(epoch)
	}
	size := b.batch * b.accumulation
	first := step % b.perEpoch() * size
	chosen := slices.Clone(b.order[first:min(first+size, len(b.order))])
	slices.SortStableFunc(chosen, func(i, k int) int { return cmp.Compare(b.size(k), b.size(i)) })
	var list []*microBatch
	for part := range slices.Chunk(chosen, b.batch) {
		list = append(list, b.rectangle(part))
	}
	return list
}

// rectangle lays units out, of which the first is the longest.
func (b *batches) rectangle(part []int) *microBatch {
	m := &microBatch{rows: b.batch, width: b.widthFor(b.size(part[0])), packed: b.packs != nil}
	m.ids = make([]int32, m.rows*m.width)
	for r, unit := range part {
		start := r * m.width
		for _, i := range b.unit(unit) {
			ids, labels := b.rows.Row(i)
			m.place(start, ids, labels)
			m.index = append(m.index, i)
			start += len(ids)
		}
	}
	return m
}

// put writes a row of the dataset as a row of the rectangle.
func (m *microBatch) put(row int, ids, labels []int32) { m.place(row*m.width, ids, labels) }

// place writes a row of the dataset at a flat position. The output at a position predicts the token after it, so a
// label at position 0 counts nothing.
func (m *microBatch) place(start int, ids, labels []int32) {
	copy(m.ids[start:], ids)
	m.tokens += len(ids)
	m.documents = append(m.documents, document{start, len(ids)})
	for t := 1; t < len(labels); t++ {
		if labels[t] != ignore {
			m.places = append(m.places, int32(start+t-1))
			m.labels = append(m.labels, labels[t])
		}
	}
}

func (b *batches) widthFor(length int) int {
	i, _ := slices.BinarySearch(b.widths, length)
	return b.widths[i]
}

// maxWidths is the number of different widths, each of which costs one compilation of the layer's programs.
const maxWidths = 4

// chooseWidths picks at most maxWidths widths, multiples of 16, such that padding every length up to the next width
// wastes the fewest tokens.
func chooseWidths(lengths []int) []int {
	const unit = 16
	counts := map[int]int{}
	for _, n := range lengths {
		counts[(n+unit-1)/unit*unit]++
	}
	sizes := make([]int, 0, len(counts))
	for n := range counts {
		sizes = append(sizes, n)
	}
	slices.Sort(sizes)
	// cost[k][i] is the least number of padded tokens for sizes up to the i-th with k widths, the last of which
	// is the i-th; from[k][i] is the width before it. Another width must save a tenth to be worth its compilation.
	n := len(sizes)
	limit := min(maxWidths, n)
	cost, from := make([][]int, limit+1), make([][]int, limit+1)
	padded := func(after, upto int) int {
		total := 0
		for i := after + 1; i <= upto; i++ {
			total += counts[sizes[i]] * sizes[upto]
		}
		return total
	}
	for k := 1; k <= limit; k++ {
		cost[k], from[k] = make([]int, n), make([]int, n)
		for i := range n {
			cost[k][i], from[k][i] = padded(-1, i), -1
			for j := 0; k > 1 && j < i; j++ {
				if c := cost[k-1][j] + padded(j, i); c < cost[k][i] {
					cost[k][i], from[k][i] = c, j
				}
			}
		}
	}
	best := 1
	for k := 2; k <= limit; k++ {
		if float64(cost[k][n-1]) < 0.9*float64(cost[best][n-1]) {
			best = k
		}
	}
	var widths []int
	for k, i := best, n-1; i >= 0 && k >= 1; k, i = k-1, from[k][i] {
		widths = append(widths, sizes[i])
	}
	slices.Reverse(widths)
	return widths
}
