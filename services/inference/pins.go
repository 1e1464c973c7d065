package inference

import "sync"

// pins are the adapters that stay in memory and on disk however long nobody asks for them.
type pins struct {
	mu   sync.Mutex
	keys map[string]string // digest by the reference that pins it
}

func newPins() *pins { return &pins{keys: map[string]string{}} }

// set has a reference pin a digest, and no longer the one before.
func (p *pins) set(ref, digest string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys[ref] = digest
}

// has tells whether a digest is pinned.
func (p *pins) has(digest string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pinned := range p.keys {
		if pinned == digest {
			return true
		}
	}
	return false
}
