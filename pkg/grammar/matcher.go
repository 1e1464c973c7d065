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

// Start begins a text; its first tokens begin to be looked for at once.
func (a *Automaton) Start() *Matcher {
	a.mu.Lock()
	defer a.mu.Unlock()
	go a.fill(a.states.first)
	return &Matcher{automaton: a, at: a.states.first}
}

// Matcher follows one text. It belongs to one goroutine.
type Matcher struct {
	automaton *Automaton
	at        *state
}

// Allowed returns the tokens that may come next, bit id%64 of word id/64, which must not be changed, and whether the
// text may end here.
func (m *Matcher) Allowed() (tokens []uint64, end bool) {
	if m.at == dead {
		return nil, false
	}
	return m.automaton.fill(m.at), m.at.end
}

// Done says that the text is whole and nothing can follow.
func (m *Matcher) Done() bool { return m.at.end && len(m.at.spots) == 0 }

// Accept goes on by a token. Behind one that is not allowed nothing is. The tokens that may follow begin to be looked for at
// once, which can take some milliseconds, while the caller does something else.
func (m *Matcher) Accept(id int32) {
	m.at = m.automaton.follow(m.at, id)
	if at := m.at; at != dead {
		go m.automaton.fill(at)
	}
}

// follow is the state behind a token.
func (a *Automaton) follow(at *state, id int32) *state {
	if id < 0 || int(id) >= len(a.vocabulary.tokens) || len(a.vocabulary.tokens[id]) == 0 {
		return dead
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range a.vocabulary.tokens[id] {
		at = a.states.step(at, b)
	}
	return at
}

// fill finds the tokens of a state unless they are known. Where too much is kept, all is forgotten: a state that somebody
// holds stays what it is.
func (a *Automaton) fill(at *state) []uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at.mask == nil {
		if a.masks == maxMasks || len(a.states.byKey) > maxStates {
			a.masks = 0
			a.states.forget()
			a.states.first = a.states.keep(&state{spots: a.states.first.spots, end: a.states.first.end})
		}
		at.mask = a.vocabulary.mask(a.states, at)
		a.masks++
	}
	return at.mask
}
