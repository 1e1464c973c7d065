package train

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
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

// arranger is implemented by rows that come faster in an order that they were told before; *dataset.Shards are.
type arranger interface {
	Arrange(order []int) error
}

// microBatch is what passes through the layers together: tokens [rows, width].
//
// A line has one row, on which the units lie end to end, so that no product is spent on padding between them. Where the attention has no kernel for that, it
// takes them apart, into lanes (see lanes.go). A rectangle has a row of the dataset in each row, padded on the
// right.
type microBatch struct {
	rows, width int
	// lanes are the units of a line, nil in a rectangle; lane is the width in which the attention computes them.
	lanes []document
	lane  int
	// index are the rows that it holds.
	index []int
	// ids are the tokens [rows·width], 0 at padding.
	ids []int32
	// places are the flat positions whose output predicts a trained token, labels those tokens.
	places, labels []int32
	// tokens counts the tokens without padding.
	tokens int
	// documents are the rows of the dataset, which must not see one another.
	documents []document
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
	lengths      []int32 // tokens of every row of the dataset
	steps        int     // of the run, 0 for those of one epoch
	sizes        sizes   // chosen by the first line
	cheapSizes   bool    // another size is worth [worthTokens]
	trained      bool    // a token is trained
	vocab        int
	packs        [][]int // rows of the dataset in each pack, nil without packing
	logger       *slog.Logger

	epoch int
	order []int
	// arranged is the epoch whose order the rows were told.
	arranged int
}

// errUntrained refuses rows that have nothing to learn from.
var errUntrained = fmt.Errorf("no token of the dataset is trained: all labels are %d", ignore)

// newBatches looks at all rows once to check them.
func newBatches(rows Rows, seed int64, batch, accumulation, maxLength, vocab int) (*batches, error) {
	b, err := checkedBatches(rows, seed, batch, accumulation, maxLength, vocab)
	if err == nil && !b.trained {
		err = errUntrained
	}
	return b, err
}

// checkedBatches is [newBatches] of rows of which none need be trained.
func checkedBatches(rows Rows, seed int64, batch, accumulation, maxLength, vocab int) (*batches, error) {
	b := &batches{rows: rows, seed: seed, batch: batch, accumulation: accumulation, vocab: vocab, epoch: -1, arranged: -1, logger: slog.Default()}
	if rows.Len() == 0 {
		return nil, errors.New("the dataset has no rows: nothing can be trained")
	}
	b.lengths = make([]int32, rows.Len())
	for i := range b.lengths {
		ids, labels := rows.Row(i)
		if err := checkRow(ids, labels, maxLength, vocab); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
		b.lengths[i] = int32(len(ids))
		b.trained = b.trained || slices.ContainsFunc(labels[1:], func(l int32) bool { return l != ignore })
	}
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

// step gives the micro-batches of a step that counts from 0.
func (b *batches) step(step int) []*microBatch {
	var list []*microBatch
	chosen := b.chosen(step)
	if b.arranged != b.epoch {
		b.arranged = b.epoch
		b.arrange()
	}
	for part := range slices.Chunk(chosen, b.batch) {
		list = append(list, b.line(part, b.batch))
	}
	return list
}

// chosen gives the units of a step, the longest first, so that units of similar length share a micro-batch; the sum
// over the step is the same in any grouping.
func (b *batches) chosen(step int) []int {
	if epoch := step / b.perEpoch(); epoch != b.epoch {
		b.epoch, b.order = epoch, b.orderOf(epoch)
	}
	size := b.batch * b.accumulation
	first := step % b.perEpoch() * size
	chosen := slices.Clone(b.order[first:min(first+size, len(b.order))])
	slices.SortStableFunc(chosen, func(i, k int) int { return cmp.Compare(b.size(k), b.size(i)) })
	return chosen
}

// arrange tells the rows in which order the epoch wants them.
func (b *batches) arrange() {
	rows, ok := b.rows.(arranger)
	if !ok {
		return
	}
	order := b.order
	if b.packs != nil {
		order = make([]int, 0, b.rows.Len())
		for _, pack := range b.order {
			order = append(order, b.packs[pack]...)
		}
	}
	if err := rows.Arrange(order); err != nil {
		b.logger.Warn("rows are read one by one, which a slow disk makes slow", "error", err)
	}
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
