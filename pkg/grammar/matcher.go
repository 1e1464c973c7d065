package grammar

import "sync"

// Automaton is a grammar over the tokens of a vocabulary. Any number of texts may go through it at the same time.
type Automaton struct {
	vocabulary *Vocabulary

	mu     sync.Mutex
	states *states
	masks  int
}

// maxMasks is how many sets of tokens an automaton keeps; one for 150,000 tokens takes 19 KiB.
const maxMasks = 256

// Over gives the automaton of a grammar over a vocabulary.
func (g *Grammar) Over(v *Vocabulary) *Automaton {
	return &Automaton{vocabulary: v, states: newStates(g)}
}

// Start begins a text.
func (a *Automaton) Start() *Matcher { return &Matcher{automaton: a, at: a.states.first} }

// Matcher follows one text. It belongs to one goroutine.
type Matcher struct {
	automaton *Automaton
	at        *state
}

// Allowed returns the tokens that may come next, bit id%64 of word id/64, which must not be changed, and whether the
// text may end here.
func (m *Matcher) Allowed() (tokens []uint64, end bool) {
	a := m.automaton
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.at == dead {
		return nil, false
	}
	if m.at.mask == nil {
		if a.masks == maxMasks || len(a.states.byKey) > maxStates {
			a.masks = 0
			a.states.forget()
			a.states.first = a.states.keep(&state{spots: a.states.first.spots, end: a.states.first.end})
			m.at = a.states.keep(&state{spots: m.at.spots, end: m.at.end})
		}
		m.at.mask = a.vocabulary.mask(a.states, m.at)
		a.masks++
	}
	return m.at.mask, m.at.end
}

// Accept goes on by a token. Behind one that is not allowed nothing is.
func (m *Matcher) Accept(id int32) {
	a := m.automaton
	a.mu.Lock()
	defer a.mu.Unlock()
	if id < 0 || int(id) >= len(a.vocabulary.tokens) || len(a.vocabulary.tokens[id]) == 0 {
		m.at = dead
		return
	}
	for _, b := range a.vocabulary.tokens[id] {
		m.at = a.states.step(m.at, b)
	}
}
