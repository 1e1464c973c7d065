package dataset

import (
	"cmp"
	"slices"
)

// Order is a permutation of 0 … n-1 that depends on nothing but (n, seed, epoch): rows are sorted by
// key(i) = mix(mix(mix(seed) + epoch) + i), ties by i, where mix is the finaliser of SplitMix64 (Steele, Lea, Flood 2014)
// behind the addition of its golden gamma. A key takes no state, so any program can compute the place of any row.
func Order(n int, seed int64, epoch int) []int {
	return sorted(n, mix(mix(uint64(seed))+uint64(epoch)))
}

// splitStream keeps the choice of Split apart from every epoch's order.
const splitStream = 0x73706c6974 // "split"

// Split chooses rows for evaluation: eval rows of n by the seed, both lists ascending. When eval is 0 or would leave
// no row for training, all rows are for training.
func Split(n, eval int, seed int64) (train, test []int) {
	if eval <= 0 || eval >= n {
		eval = 0
	}
	order := sorted(n, mix(mix(uint64(seed))^splitStream))
	test, train = order[:eval:eval], order[eval:]
	slices.Sort(train)
	slices.Sort(test)
	return train, test
}

func sorted(n int, stream uint64) []int {
	type keyed struct {
		key uint64
		i   int
	}
	keys := make([]keyed, n)
	for i := range keys {
		keys[i] = keyed{mix(stream + uint64(i)), i}
	}
	slices.SortFunc(keys, func(a, b keyed) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.i, b.i))
	})
	order := make([]int, n)
	for i, k := range keys {
		order[i] = k.i
	}
	return order
}

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Lengths say how long rows are. A percentile is the length of row ⌈(rows-1)·share⌉ in order of length, counted from 0, as
// numpy's method "higher" has it; it is always a length that occurs.
type Lengths struct {
	Rows int64   `json:"rows"`
	Mean float64 `json:"mean"`
	P50  int     `json:"p50"`
	P90  int     `json:"p90"`
	P99  int     `json:"p99"`
	Max  int     `json:"max"`
}

// histogram counts rows by length.
type histogram struct{ counts []int64 }

func (h *histogram) add(n int) {
	if n >= len(h.counts) {
		h.counts = append(h.counts, make([]int64, max(n+1-len(h.counts), len(h.counts), 256))...)
	}
	h.counts[n]++
}

func (h histogram) summary() Lengths {
	var l Lengths
	var tokens int64
	for n, count := range h.counts {
		if count > 0 {
			l.Rows += count
			tokens += int64(n) * count
			l.Max = n
		}
	}
	if l.Rows == 0 {
		return l
	}
	l.Mean = float64(tokens) / float64(l.Rows)
	l.P50, l.P90, l.P99 = h.percentile(l.Rows, 50), h.percentile(l.Rows, 90), h.percentile(l.Rows, 99)
	return l
}

func (h histogram) percentile(rows int64, share int64) int {
	var sum int64
	for n, count := range h.counts {
		if sum += count; sum > ((rows-1)*share+99)/100 {
			return n
		}
	}
	return 0
}
