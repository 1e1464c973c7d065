package inference

import (
	"slices"
	"sync"
)

// pins are the adapters that stay in memory and on disk however long nobody asks for them.
type pins struct {
	mu   sync.Mutex
	keys map[string]string // digest by the reference that pins it
	// wished are the digests that the registry pins, by the name of their adapter. They are as good as the others, but give
	// their slots away where requests would find none: nobody has counted them against the slots of this worker.
	wished map[string][]string
}

func newPins() *pins { return &pins{keys: map[string]string{}, wished: map[string][]string{}} }

// set has a reference pin a digest, and no longer the one before.
func (p *pins) set(ref, digest string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys[ref] = digest
}

// wish has the registry pin these digests of a name, and no others, and returns those that were not pinned by it before.
func (p *pins) wish(name string, digests []string) (fresh []string, changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.wished[name]
	for _, digest := range digests {
		if !slices.Contains(before, digest) {
			fresh = append(fresh, digest)
		}
	}
	changed = !slices.Equal(before, digests)
	if p.wished[name] = digests; len(digests) == 0 {
		delete(p.wished, name)
	}
	return fresh, changed
}

// has tells whether a digest is pinned.
func (p *pins) has(digest string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, digests := range p.wished {
		if slices.Contains(digests, digest) {
			return true
		}
	}
	return p.configured(digest)
}

// firm tells whether a digest is pinned so that it gives its slot to nobody.
func (p *pins) firm(digest string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.configured(digest)
}

// configured tells whether the configuration pins a digest; p.mu is held.
func (p *pins) configured(digest string) bool {
	for _, pinned := range p.keys {
		if pinned == digest {
			return true
		}
	}
	return false
}
