package tokenizer

import (
	"container/heap"
	"math/bits"
	"slices"
)

// pair is what two neighbours merge into: the rank of the merge in the high half, where lower is earlier, and the id of the
// token in the low half.
type pair uint64

// noPair is what two tokens merge into that do not.
const noPair = ^pair(0)

// pairTable finds the merge of two ids, by open addressing.
type pairTable struct {
	keys   []uint64
	values []pair
	shift  int
}

// emptyKey is no key: ids are not negative.
const emptyKey = ^uint64(0)

func newPairTable(n int) pairTable {
	size := max(bits.Len(uint(n+n/2)), 4)
	t := pairTable{slices.Repeat([]uint64{emptyKey}, 1<<size), make([]pair, 1<<size), 64 - size}
	return t
}

// slot is where a key is, or would be.
func (t *pairTable) slot(key uint64) int {
	i := int(key * 0x9e3779b97f4a7c15 >> t.shift)
	for t.keys[i] != key && t.keys[i] != emptyKey {
		i = (i + 1) & (len(t.keys) - 1)
	}
	return i
}

// put sets the merge of two ids; the last one counts.
func (t *pairTable) put(left, right int32, merged pair) {
	key := uint64(left)<<32 | uint64(right)
	i := t.slot(key)
	t.keys[i], t.values[i] = key, merged
}

func (t *pairTable) get(left, right int32) pair {
	key := uint64(left)<<32 | uint64(right)
	if i := t.slot(key); t.keys[i] == key {
		return t.values[i]
	}
	return noPair
}

// symbol is a part of a word while it is merged, with the merge with its right neighbour.
type symbol struct {
	id   int32
	next pair
}

// mergeShort does the merges of the lowest rank first, of equal ones the leftmost, looking through the whole word for each.
func (t *pairTable) mergeShort(s []symbol) []symbol {
	for i := range s {
		s[i].next = noPair
		if i+1 < len(s) {
			s[i].next = t.get(s[i].id, s[i+1].id)
		}
	}
	for {
		at, least := 0, noPair
		for i := range s {
			if s[i].next < least {
				at, least = i, s[i].next
			}
		}
		if least == noPair {
			return s
		}
		s[at].id = int32(least & 0xffffffff)
		s = append(s[:at+1], s[at+2:]...)
		s[at].next = noPair
		if at+1 < len(s) {
			s[at].next = t.get(s[at].id, s[at+1].id)
		}
		if at > 0 {
			s[at-1].next = t.get(s[at-1].id, s[at].id)
		}
	}
}

// mergeLong does the same with a heap, since the time of mergeShort grows with the square of the length.
func (t *pairTable) mergeLong(s []symbol) []symbol {
	left, right := make([]int, len(s)), make([]int, len(s)) // neighbours; -1 and len(s) for none
	var queue mergeQueue
	offer := func(i int) {
		s[i].next = noPair
		if right[i] < len(s) {
			s[i].next = t.get(s[i].id, s[right[i]].id)
		}
		if s[i].next != noPair {
			heap.Push(&queue, merge{s[i].next, i})
		}
	}
	for i := range s {
		left[i], right[i] = i-1, i+1
	}
	for i := range s {
		offer(i)
	}
	const gone = -1
	for len(queue) > 0 {
		top, _ := heap.Pop(&queue).(merge)
		if s[top.at].id == gone || s[top.at].next != top.pair { // it changed since
			continue
		}
		other := right[top.at]
		s[top.at].id, s[other].id = int32(top.pair&0xffffffff), gone
		right[top.at] = right[other]
		if right[other] < len(s) {
			left[right[other]] = top.at
		}
		offer(top.at)
		if left[top.at] >= 0 {
			offer(left[top.at])
		}
	}
	return slices.DeleteFunc(s, func(one symbol) bool { return one.id == gone })
}

// merge is a place in a word and the merge there.
type merge struct {
	pair pair
	at   int
}

// mergeQueue is a heap of merges: the lowest rank first, of equal ones the leftmost.
type mergeQueue []merge

func (q mergeQueue) Len() int { return len(q) }

func (q mergeQueue) Less(i, j int) bool {
	return q[i].pair < q[j].pair || q[i].pair == q[j].pair && q[i].at < q[j].at
}

func (q mergeQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

// Push is for the heap.
func (q *mergeQueue) Push(x any) {
	if one, ok := x.(merge); ok {
		*q = append(*q, one)
	}
}

// Pop is for the heap.
func (q *mergeQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
