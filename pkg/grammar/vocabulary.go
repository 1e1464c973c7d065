package grammar

import (
	"bytes"
	"cmp"
	"slices"
)

// Vocabulary is the tokens of a model, as a trie in one slice: depth first, each node with where its branch ends.
type Vocabulary struct {
	tokens [][]byte
	nodes  []trieNode
	ids    []int32 // grouped by node
	depth  int
	// beginning is what the tokens are where a text begins, nil where they are the same.
	beginning *Vocabulary
}

type trieNode struct {
	// end is the index behind the branch.
	end int32
	// first and last bound ids, those of the tokens that end here.
	first, last int32
	depth       int16 // from 1
	value       byte
}

// NewVocabulary takes the bytes of every id. An id without bytes is never allowed, neither is one longer than 32 KiB.
func NewVocabulary(tokens [][]byte) *Vocabulary {
	v := &Vocabulary{tokens: tokens}
	var order []int32
	for id, token := range tokens {
		if len(token) > 0 && len(token) < 1<<15 {
			order = append(order, int32(id))
		}
	}
	slices.SortFunc(order, func(a, b int32) int {
		return cmp.Or(bytes.Compare(tokens[a], tokens[b]), cmp.Compare(a, b))
	})
	var path []int32 // nodes on the way to the token before
	closeTo := func(depth int) {
		for _, at := range path[depth:] {
			v.nodes[at].end = int32(len(v.nodes))
		}
		path = path[:depth]
	}
	var before []byte
	for _, id := range order {
		token := tokens[id]
		same := 0
		for same < len(before) && same < len(token) && before[same] == token[same] {
			same++
		}
		closeTo(same)
		for depth := same; depth < len(token); depth++ {
			path = append(path, int32(len(v.nodes)))
			at := int32(len(v.ids))
			v.nodes = append(v.nodes, trieNode{first: at, last: at, depth: int16(depth + 1), value: token[depth]})
		}
		v.ids = append(v.ids, id)
		v.nodes[path[len(path)-1]].last = int32(len(v.ids))
		v.depth = max(v.depth, len(token))
		before = token
	}
	closeTo(0)
	return v
}

// Beginning gives the bytes of every id where a text begins with it, for tokenizers that drop a space there.
func (v *Vocabulary) Beginning(tokens [][]byte) { v.beginning = NewVocabulary(tokens) }

// mask finds the tokens that may follow a state: bit id%64 of word id/64.
func (v *Vocabulary) mask(s *states, from *state) []uint64 {
	mask := make([]uint64, (len(v.tokens)+63)/64)
	way := make([]*state, v.depth+1)
	way[0] = from
	for i := int32(0); i < int32(len(v.nodes)); {
		n := &v.nodes[i]
		next := s.step(way[n.depth-1], n.value)
		if next == dead {
			i = n.end
			continue
		}
		way[n.depth] = next
		for _, id := range v.ids[n.first:n.last] {
			mask[id/64] |= 1 << (id % 64)
		}
		i++
	}
	return mask
}
