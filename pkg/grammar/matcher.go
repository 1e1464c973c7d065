package grammar

import "sync"

// Automaton is a grammar over the tokens of a vocabulary. Any number of texts may go through it at the same time.
type Automaton struct {
	vocabulary *Vocabulary

	mu     sync.Mutex
	states *states
	masks  int
	// beginning are the tokens that a text may begin with, where the vocabulary has others there; nil if not known.
	beginning []uint64
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
	m := &Matcher{automaton: a, at: a.states.first, fresh: a.vocabulary.beginning != nil}
	go m.mask()
	return m
}

// Matcher follows one text. It belongs to one goroutine.
type Matcher struct {
	automaton *Automaton
	at        *state
	// fresh: no token was taken yet, and the first one has bytes of its own.
	fresh bool
}

// mask finds the tokens that may come next.
func (m Matcher) mask() []uint64 {
	if m.fresh {
		return m.automaton.begin(m.at)
	}
	return m.automaton.fill(m.at)
}

// Allowed returns the tokens that may come next, bit id%64 of word id/64, which must not be changed, and whether the
// text may end here.
func (m *Matcher) Allowed() (tokens []uint64, end bool) {
	if m.at == dead {
		return nil, false
	}
	return m.mask(), m.at.end
}

// Done says that the text is whole and nothing can follow.
func (m *Matcher) Done() bool { return m.at.end && len(m.at.spots) == 0 }

// Accept goes on by a token. Behind one that is not allowed nothing is. The tokens that may follow begin to be looked for at
// once, which can take some milliseconds, while the caller does something else.
func (m *Matcher) Accept(id int32) {
	vocabulary := m.automaton.vocabulary
	if m.fresh {
		vocabulary, m.fresh = vocabulary.beginning, false
	}
	m.at = m.automaton.follow(vocabulary, m.at, id)
	if at := m.at; at != dead {
		go m.automaton.fill(at)
	}
}

// follow is the state behind a token.
func (a *Automaton) follow(v *Vocabulary, at *state, id int32) *state {
	if id < 0 || int(id) >= len(v.tokens) || len(v.tokens[id]) == 0 {
		return dead
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range v.tokens[id] {
		at = a.states.step(at, b)
	}
	return at
}

// begin finds the tokens that a text may begin with.
func (a *Automaton) begin(first *state) []uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.beginning == nil {
		a.beginning = a.vocabulary.beginning.mask(a.states, first)
	}
	return a.beginning
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
