package grammar

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// Grammar is a set of texts. It does not change once it is made.
type Grammar struct {
	net   network
	start int
}

// frame is an open call: where it goes on, and the calls around it.
type frame struct {
	id     uint32
	back   node
	around *frame
	depth  int
}

type frameKey struct {
	back   node
	around *frame
}

// spot is a place where a text may be, with the calls that are open.
type spot struct {
	at   node
	open *frame
}

// state is everything that may follow a text.
type state struct {
	spots []spot // those with bytes to take, sorted
	end   bool   // the text may end here
	// next is the state behind each byte: nil if it is not known, dead if there is none.
	next [256]*state
	// mask are the tokens that may follow, nil if it is not known.
	mask []uint64
}

// dead is where nothing leads on.
var dead = new(state)

// states makes the states of a grammar and keeps them.
type states struct {
	net    *network
	byKey  map[string]*state
	frames map[frameKey]*frame
	first  *state
	// made counts frames; ids are never used again, since states that somebody holds may still name them.
	made uint32
}

// maxStates is how many states are kept; a state takes 2 KiB.
const maxStates = 4096

func newStates(g *Grammar) *states {
	s := &states{net: &g.net}
	s.forget()
	s.first = s.close([]spot{{at: g.net.rules[g.start].start}})
	return s
}

// forget drops what is kept. States that somebody holds stay what they are.
func (s *states) forget() { s.byKey, s.frames = map[string]*state{}, map[frameKey]*frame{} }

// step is the state behind a byte.
func (s *states) step(from *state, b byte) *state {
	if from == dead {
		return dead
	}
	if next := from.next[b]; next != nil {
		return next
	}
	var spots []spot
	for _, sp := range from.spots {
		for _, e := range s.net.nodes[sp.at].bytes {
			if b >= e.low && b <= e.high {
				spots = append(spots, spot{e.to, sp.open})
			}
		}
	}
	next := dead
	if len(spots) > 0 {
		next = s.close(spots)
	}
	from.next[b] = next
	return next
}

// close follows all edges that take nothing and returns the state of what is found. Where that is more than maxSpots it
// is dead, and the texts before lead elsewhere or to an error.
func (s *states) close(spots []spot) *state {
	seen := map[spot]bool{}
	found := &state{}
	for len(spots) > 0 {
		sp := spots[len(spots)-1]
		spots = spots[:len(spots)-1]
		place := &s.net.nodes[sp.at]
		if seen[sp] || depth(sp.open)+place.need > maxDepth {
			continue
		}
		if len(seen) == maxSpots {
			return dead
		}
		seen[sp] = true
		if len(place.bytes) > 0 {
			found.spots = append(found.spots, sp)
		}
		for _, to := range place.free {
			spots = append(spots, spot{to, sp.open})
		}
		for _, c := range place.calls {
			if depth(sp.open)+s.net.nodes[c.back].need <= maxDepth {
				spots = append(spots, spot{s.net.rules[c.rule].start, s.frame(c.back, sp.open)})
			}
		}
		if place.final {
			if sp.open == nil {
				found.end = true
			} else {
				spots = append(spots, spot{sp.open.back, sp.open.around})
			}
		}
	}
	if len(found.spots) == 0 && !found.end {
		return dead
	}
	return s.keep(found)
}

func depth(f *frame) int {
	if f == nil {
		return 0
	}
	return f.depth
}

func (s *states) frame(back node, around *frame) *frame {
	key := frameKey{back, around}
	f := s.frames[key]
	if f == nil {
		s.made++
		f = &frame{id: s.made, back: back, around: around, depth: depth(around) + 1}
		s.frames[key] = f
	}
	return f
}

// keep returns the state that is kept for the same spots.
func (s *states) keep(found *state) *state {
	slices.SortFunc(found.spots, func(a, b spot) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(id(a.open), id(b.open))) })
	key := make([]byte, 0, 8*len(found.spots)+1)
	for _, sp := range found.spots {
		key = binary.LittleEndian.AppendUint32(key, uint32(sp.at))
		key = binary.LittleEndian.AppendUint32(key, id(sp.open))
	}
	if found.end {
		key = append(key, 1)
	}
	if kept := s.byKey[string(key)]; kept != nil {
		return kept
	}
	s.byKey[string(key)] = found
	return found
}

func id(f *frame) uint32 {
	if f == nil {
		return 0
	}
	return f.id
}
