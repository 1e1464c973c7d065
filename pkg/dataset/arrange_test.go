package dataset

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// manyShards are rows of many lengths, of which answers alone are trained, in blocks of 2048 tokens.
func manyShards(t *testing.T, rows int) (shards *Shards, ids, labels [][]int32) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	var text strings.Builder
	for i := range rows {
		fmt.Fprintf(&text, "{\"instruction\":\"%d\",\"output\":\"%s\"}\n", i, strings.Repeat("x", 1+random.IntN(40)))
	}
	dir := t.TempDir()
	result, err := Tokenise(t.Context(), NewReader(strings.NewReader(text.String()), "rows.jsonl", ReadOptions{}), byteEncoder, dir,
		TokeniseOptions{LossOn: LossCompletion, RowsPerShard: rows/2 + 1})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, name := range result.Shards {
		paths = append(paths, filepath.Join(dir, name))
	}
	if shards, err = openShards(paths, 2048); err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		a, b := shards.tokens.blocksOfOne(t, shards, i)
		ids, labels = append(ids, a), append(labels, b)
	}
	shards.tokens.reads, shards.tokens.bytes = 0, 0
	return shards, ids, labels
}

// blocksOfOne reads a row by itself, past all blocks.
func (s *spool) blocksOfOne(t *testing.T, shards *Shards, i int) (ids, labels []int32) {
	t.Helper()
	data, err := s.alone(shards.starts[i], int(shards.starts[i+1]-shards.starts[i]))
	if err != nil {
		t.Fatal(err)
	}
	return tokensOf(data)
}

// TestReadingOrder counts what is read of the disk: every byte once where the order is known or the rows come one after the
// other, and never more than twice.
func TestReadingOrder(t *testing.T) {
	t.Parallel()
	const rows = 6000
	shards, ids, labels := manyShards(t, rows)
	total := tokenBytes * shards.tokens.tokens
	check := func(what string, order []int) {
		t.Helper()
		for _, i := range order {
			gotIDs, gotLabels := shards.Row(i)
			if !slices.Equal(gotIDs, ids[i]) || !slices.Equal(gotLabels, labels[i]) {
				t.Fatalf("%s: row %d is %v with labels %v, want %v with %v", what, i, gotIDs, gotLabels, ids[i], labels[i])
			}
		}
	}
	reads := func() (n, bytes int64) {
		n, bytes = shards.tokens.reads, shards.tokens.bytes
		shards.tokens.reads, shards.tokens.bytes = 0, 0
		if a := shards.arranged; a != nil {
			n, bytes = n+a.reads, bytes+a.bytes
			a.reads, a.bytes = 0, 0
		}
		return n, bytes
	}
	all := make([]int, rows)
	for i := range all {
		all[i] = i
	}
	blocks := int64(len(shards.tokens.bounds) - 1)
	if blocks < 60 {
		t.Fatalf("%d blocks are too few for this test", blocks)
	}
	check("ascending", all)
	if n, bytes := reads(); n != blocks || bytes != total {
		t.Errorf("ascending: %d reads of %d bytes, want %d of %d", n, bytes, blocks, total)
	}
	check("ascending again", all)
	if n, bytes := reads(); n > blocks+loneMost || bytes > total+total/10 {
		t.Errorf("ascending again: %d reads of %d bytes, want about %d of %d", n, bytes, blocks, total)
	}
	check("no order was told", shards.Order(1, 0))
	if n, bytes := reads(); n > rows || bytes > total+total/10 {
		t.Errorf("no order was told: %d reads of %d bytes, more than the rows", n, bytes)
	}
	for epoch := range 2 {
		order := shards.Order(1, epoch)
		if err := shards.Arrange(order); err != nil {
			t.Fatal(err)
		}
		most := int64(len(shards.arranged.bounds) - 1)
		reads()
		// Within a step rows are wanted by their length.
		for step := range slices.Chunk(slices.Clone(order), 16) {
			slices.SortFunc(step, func(a, b int) int { return len(ids[b]) - len(ids[a]) })
			check("arranged", step)
		}
		if n, bytes := reads(); n != most || bytes != total {
			t.Errorf("epoch %d, arranged: %d reads of %d bytes, want %d of %d", epoch, n, bytes, most, total)
		}
	}
	check("ascending beside an arrangement", all)
	if n, bytes := reads(); n > 2*blocks || bytes > 2*total {
		t.Errorf("ascending beside an arrangement: %d reads of %d bytes, want about %d of %d", n, bytes, blocks, total)
	}
	check("another order than was told", shards.Order(2, 0))
	if n, bytes := reads(); n > rows+100 || bytes > 2*total {
		t.Errorf("another order than was told: %d reads of %d bytes", n, bytes)
	}
}

// TestArrangeSubset reads a part of the rows in an order of its own, goes on in the middle of it, and reads the others too.
func TestArrangeSubset(t *testing.T) {
	t.Parallel()
	shards, ids, _ := manyShards(t, 4000)
	training, test := Split(shards.Len(), 400, 7)
	part := shards.Subset(training)
	order := part.Order(3, 0)
	if err := part.Arrange(order); err != nil {
		t.Fatal(err)
	}
	a := shards.arranged
	if want := int64(len(a.bounds)); a.bounds[want-1] >= shards.tokens.tokens {
		t.Errorf("%d tokens are arranged, all rows have %d", a.bounds[want-1], shards.tokens.tokens)
	}
	half := order[len(order)/2:]
	for _, i := range half {
		if got, _ := part.Row(i); !slices.Equal(got, ids[training[i]]) {
			t.Fatalf("row %d is %v, want %v", i, got, ids[training[i]])
		}
	}
	if blocks := int64(len(a.bounds)-1)/2 + 2; a.reads > blocks || shards.tokens.reads > loneMost {
		t.Errorf("%d reads of blocks and %d beside them, want at most %d", a.reads, shards.tokens.reads, blocks)
	}
	for _, i := range test {
		if got, _ := shards.Row(i); !slices.Equal(got, ids[i]) {
			t.Fatalf("row %d is %v, want %v", i, got, ids[i])
		}
	}
}
