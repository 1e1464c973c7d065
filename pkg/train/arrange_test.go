package train

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

// arrangedTable notes the orders that it is told, and the rows that are taken.
type arrangedTable struct {
	table
	told  [][]int
	taken []int
	err   error
}

func (a *arrangedTable) Arrange(order []int) error {
	a.told = append(a.told, slices.Clone(order))
	return a.err
}

func (a *arrangedTable) Row(i int) (ids, labels []int32) {
	a.taken = append(a.taken, i)
	return a.table.Row(i)
}

// TestRowsAreArranged holds that every epoch tells the rows in which order it wants them, step by step, and takes each of
// them once.
func TestRowsAreArranged(t *testing.T) {
	t.Parallel()
	for _, packed := range []bool{false, true} {
		t.Run(fmt.Sprint("packed ", packed), func(t *testing.T) {
			t.Parallel()
			rows := &arrangedTable{table: sentences(50)}
			b, err := newBatches(rows, 1, 3, 2, 64, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if packed {
				b.pack(48)
			}
			for epoch := range 2 {
				rows.taken = nil
				var want []int
				for step := range b.perEpoch() {
					from := len(rows.taken)
					b.step(epoch*b.perEpoch() + step)
					of := slices.Sorted(slices.Values(rows.taken[from:]))
					want = append(want, of...)
					told := rows.told[len(rows.told)-1][len(want)-len(of) : len(want)]
					if !slices.Equal(of, slices.Sorted(slices.Values(told))) {
						t.Fatalf("epoch %d: step %d takes the rows %v, told was %v", epoch, step, of, told)
					}
				}
				if len(want) != rows.Len() || len(rows.told) != epoch+1 {
					t.Errorf("epoch %d: %d rows of %d are taken, %d orders were told", epoch, len(want), rows.Len(), len(rows.told))
				}
			}
		})
	}
}

// TestRowsNotArranged goes on without an arrangement, and says so.
func TestRowsNotArranged(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	b, err := newBatches(&arrangedTable{table: sentences(5), err: errors.New("disk full")}, 1, 1, 1, 64, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	b.logger = slog.New(slog.NewTextHandler(&log, nil))
	if list := b.step(0); len(list) != 1 || !strings.Contains(log.String(), "disk full") {
		t.Errorf("%d micro-batches; the log says %q", len(list), log.String())
	}
}
