package train

import "slices"

// sizes are the shapes of a run's micro-batches. Every pair of a lane and a width that occurs costs one compilation of a
// layer's programs, and every token between what is needed and the next size is computed in vain.
type sizes struct {
	lanes  []int // widths of lanes
	widths []int // widths of lines
}

// sampledBatches bounds the micro-batches that sizes are chosen from: the first ones of the run.
const sampledBatches = 1024

const (
	maxLanes  = 4
	maxWidths = 8
	// worth is the number of micro-batches whose computing another size must save, worthTokens that of tokens where the attention has a kernel: the programs
	// of another width take two processors about as long as 300 tokens, more of them as long as more. It is the same on all of them, as a run may go on elsewhere.
	worth       = 4
	worthTokens = 768
)

// chosenSizes chooses the sizes when the first line is laid, from what the run will step through: the same settings and rows
// give the same sizes, so that a run that goes on has those of the run that stopped.
func (b *batches) chosenSizes() sizes {
	if b.sizes.lanes == nil {
		b.sizes = b.sizesFor(b.sample())
	}
	return b.sizes
}

// sample gives the first micro-batches of the run, as their units, and about how many it has.
func (b *batches) sample() (parts [][]int, all int) {
	steps := b.steps
	if steps == 0 {
		steps = b.perEpoch()
	}
	for step := 0; step < steps && len(parts) < sampledBatches; step++ {
		parts = slices.AppendSeq(parts, slices.Chunk(b.chosen(step), b.batch))
	}
	return parts, steps * b.accumulation
}

// sizesFor chooses the sizes for micro-batches like the given ones, of which there will be about n.
func (b *batches) sizesFor(parts [][]int, n int) sizes {
	longest, needs := make([]int, len(parts)), make([]int, len(parts))
	for i, part := range parts {
		longest[i], needs[i] = b.size(part[0]), b.total(part)
	}
	share, tokens := worth/float64(n), 0.0
	s := sizes{lanes: chooseSizes(longest, maxLanes, max(share, 0.1), 0)}
	if b.cheapSizes {
		share, tokens = 0, worthTokens*float64(len(parts))/float64(n)
	}
	largest := 0
	for unit := range b.units() {
		largest = max(largest, b.size(unit))
	}
	if s.lanes[len(s.lanes)-1] < largest {
		s.lanes = append(s.lanes, roundUp(largest, 16))
	}
	s.widths = chooseSizes(needs, maxWidths, share, tokens)
	return s
}

// total is the number of tokens of units.
func (b *batches) total(part []int) int {
	n := 0
	for _, unit := range part {
		n += b.size(unit)
	}
	return n
}

// lane is the width of lanes of which the longest has the given length.
func (s sizes) lane(length int) int {
	i, _ := slices.BinarySearch(s.lanes, length)
	return s.lanes[i]
}

// width is the width of a line that needs n tokens; a rare one that no size was chosen for takes a round number.
func (s sizes) width(n int) int {
	if i, _ := slices.BinarySearch(s.widths, n); i < len(s.widths) {
		return s.widths[i]
	}
	return roundUp(n, 256)
}

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

// chooseSizes picks at most limit sizes, multiples of 16, such that filling every need up to the next size wastes the
// least. Another size must save the given share of everything, and so many tokens.
func chooseSizes(needs []int, limit int, share, tokens float64) []int {
	const unit = 16
	counts := map[int]int{}
	for _, n := range needs {
		counts[roundUp(n, unit)]++
	}
	list := make([]int, 0, len(counts))
	for n := range counts {
		list = append(list, n)
	}
	slices.Sort(list)
	// cost[k][i] is the least that needs up to the i-th cost with k sizes, the last of which is the i-th; from[k][i] is
	// the size before it. upto[i] counts the needs below the i-th.
	n := len(list)
	limit = min(limit, n)
	upto := make([]int, n+1)
	for i, size := range list {
		upto[i+1] = upto[i] + counts[size]
	}
	filled := func(after, last int) int { return (upto[last+1] - upto[after+1]) * list[last] }
	cost, from := make([][]int, limit+1), make([][]int, limit+1)
	for k := 1; k <= limit; k++ {
		cost[k], from[k] = make([]int, n), make([]int, n)
		for i := range n {
			cost[k][i], from[k][i] = filled(-1, i), -1
			for j := 0; k > 1 && j < i; j++ {
				if c := cost[k-1][j] + filled(j, i); c < cost[k][i] {
					cost[k][i], from[k][i] = c, j
				}
			}
		}
	}
	best := 1
	for k := 2; k <= limit; k++ {
		if float64(cost[k][n-1]) < float64(cost[best][n-1])*(1-share*float64(k-best))-tokens*float64(k-best) {
			best = k
		}
	}
	var chosen []int
	for k, i := best, n-1; i >= 0 && k >= 1; k, i = k-1, from[k][i] {
		chosen = append(chosen, list[i])
	}
	slices.Reverse(chosen)
	return chosen
}
