package train

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestLines lays rows of the lengths of a real dataset out: every token is on its line once, lanes are wide enough, and
// little is computed in vain.
func TestLines(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 1))
	var rows table
	for range 1000 {
		row := make([]int32, 20+int(random.ExpFloat64()*130)%1000)
		for i := range row {
			row[i] = 1 + random.Int32N(99)
		}
		rows = append(rows, row)
	}
	b, err := newBatches(rows, 42, 4, 1, 1024, 100)
	if err != nil {
		t.Fatal(err)
	}
	shapes := map[shape]bool{}
	tokens, computed := 0, 0
	seen := make([]bool, len(rows))
	for step := range b.perEpoch() {
		for _, m := range b.step(step) {
			shapes[m.shape()] = true
			tokens, computed = tokens+m.tokens, computed+m.width
			for i, d := range m.documents {
				row := m.index[i]
				if seen[row] || !slices.Equal(m.ids[d.start:d.start+d.length], rows[row]) || d.length > m.lane {
					t.Fatalf("step %d: row %d lies wrong at %d", step, row, d.start)
				}
				seen[row] = true
			}
			segments, at, back := m.laneTables()
			if m.tokens < m.width && back[m.tokens] != -1 {
				t.Fatalf("step %d: what lies beyond the last unit is place %d of the lanes", step, back[m.tokens])
			}
			for i, r := range slices.Collect(slices.Chunk(m.ranges(), 2)) {
				first := i // of what is no token
				if i < m.tokens {
					of := slices.IndexFunc(m.documents, func(d document) bool { return d.start <= i && i < d.start+d.length })
					first = m.documents[of].start
				}
				if int(r[0]) != first || int(r[1]) != i+1 {
					t.Fatalf("step %d: token %d sees %v", step, i, r)
				}
			}
			for i, s := range segments {
				if (s > 0) != (int(at[i]) < m.tokens && int(back[at[i]]) == i) {
					t.Fatalf("step %d: place %d of the lanes is %d on the line, and that %d", step, i, at[i], back[at[i]])
				}
			}
		}
	}
	if slices.Contains(seen, false) {
		t.Error("a row is missing")
	}
	if len(b.sizes.lanes) > maxLanes+1 || len(b.sizes.widths) > maxWidths || len(shapes) > 16 {
		t.Errorf("%d shapes of lanes %v and widths %v", len(shapes), b.sizes.lanes, b.sizes.widths)
	}
	if share := float64(computed-tokens) / float64(tokens); share > 0.15 {
		t.Errorf("%.1f %% of the tokens are padding", 100*share)
	}
	t.Logf("%d shapes, %.1f %% padding", len(shapes), 100*float64(computed-tokens)/float64(tokens))
}

// TestRareLongRow has one row that is longer than all that the sizes are chosen from.
func TestRareLongRow(t *testing.T) {
	t.Parallel()
	var rows table
	for range sampledBatches + 1 {
		rows = append(rows, slices.Repeat([]int32{1}, 20))
	}
	rows = append(rows, slices.Repeat([]int32{1}, 500))
	b, err := newBatches(rows, 1, 1, 1, 512, 100)
	if err != nil {
		t.Fatal(err)
	}
	if m := b.line([]int{len(rows) - 1}, 1); m.tokens != 500 || m.lane != 512 || m.width != 512 {
		t.Errorf("%d tokens on a line of %d with lanes of %d", m.tokens, m.width, m.lane)
	}
}

// TestSizesOfFewSteps takes few steps of many rows: the lengths of what is never stepped through ask for no size, those that
// a later epoch repeats are counted as often.
func TestSizesOfFewSteps(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(4, 1))
	var rows table
	for range 5000 {
		rows = append(rows, slices.Repeat([]int32{1}, 1+random.IntN(1024)))
	}
	shapesOf := func(rows table, steps int) int {
		b, err := newBatches(rows, 42, 1, 4, 1024, 100)
		if err != nil {
			t.Fatal(err)
		}
		b.steps = steps
		shapes := map[shape]bool{}
		for step := range steps {
			for _, m := range b.step(step) {
				shapes[m.shape()] = true
			}
		}
		return len(shapes)
	}
	few, many := shapesOf(rows, 5), shapesOf(rows, 1000)
	if few > 3 || many < 6 {
		t.Errorf("5 steps have %d shapes, 1000 have %d", few, many)
	}
	if once, often := shapesOf(rows[:20], 5), shapesOf(rows[:20], 500); once >= often {
		t.Errorf("one epoch of 20 rows has %d shapes, 100 have %d", once, often)
	}
}

// TestCheapSizes has one short row among long ones: it is a size of its own where sizes are cheap.
func TestCheapSizes(t *testing.T) {
	t.Parallel()
	rows := table{slices.Repeat([]int32{1}, 168)}
	for range 5 {
		rows = append(rows, slices.Repeat([]int32{1}, 1000))
	}
	for cheap, want := range map[bool][]int{false: {1008}, true: {176, 1008}} {
		b, err := newBatches(rows, 1, 1, 1, 1024, 100)
		if err != nil {
			t.Fatal(err)
		}
		b.steps, b.cheapSizes = len(rows), cheap
		if got := b.chosenSizes().widths; !slices.Equal(got, want) {
			t.Errorf("cheap sizes %v: widths %v, not %v", cheap, got, want)
		}
	}
}
