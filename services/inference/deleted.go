package inference

import (
	"os"
	"path/filepath"
	"slices"

	"descant/pkg/pb"
)

// deleted lists the digests of an entry's versions that were taken away.
func deleted(entry *pb.AdapterEntry) map[string]bool {
	gone := map[string]bool{}
	for _, version := range entry.GetVersions() {
		if version.GetDeletedAt() != nil {
			gone[version.GetDigest()] = true
		}
	}
	for _, version := range entry.GetVersions() { // the same files may have been published again
		if version.GetDeletedAt() == nil {
			delete(gone, version.GetDigest())
		}
	}
	return gone
}

// drop frees what this worker holds of deleted versions, and of sums with one of them, in every tier. A request that found
// its version before that is answered first; what it brings back in goes when the registry is listed again.
func (s *Service) drop(gone map[string]bool) {
	if len(gone) == 0 {
		return
	}
	s.host.drop(gone)
	for _, m := range s.pool.loaded() {
		m.slots.drop(gone)
	}
	for _, m := range s.pool.drop(gone) {
		m.close()
	}
	if err := s.disk.drop(gone); err != nil {
		s.log.Warn("cannot clear a deleted adapter from this disk; it is tried again", "dir", s.cfg.WorkDir, "error", err)
	}
	for digest := range gone {
		if !s.holds(digest) {
			s.states.forget(digest)
		}
	}
}

// holds tells whether an adapter is in a slot, or a model that was trained as a whole in memory.
func (s *Service) holds(digest string) bool {
	return slices.ContainsFunc(s.pool.loaded(), func(m *served) bool { return m.base.Digest == digest || m.slots.has(digest) })
}

// drop takes adapters, and sums with one of them, out of their slots: at once, or when their last user leaves.
func (s *slots) drop(gone map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.byKey {
		if touches(gone, at.key, at.parts) {
			at.gone = true
			s.leaveGone(at)
		}
	}
}

// leaveGone takes a dropped adapter that nobody uses out of its slot; s.mu is held.
func (s *slots) leaveGone(at *slot) {
	if at.gone && at.placed && at.users == 0 && s.byKey[at.key] == at {
		s.unload(at)
	}
}

// drop forgets adapters, and sums with one of them.
func (h *host) drop(gone map[string]bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for at := h.order.Back(); at != nil; {
		before := at.Prev()
		one, _ := at.Value.(*kept)
		known, _ := one.w.(checked)
		if touches(gone, one.key, known.parts) {
			h.remove(at)
		}
		at = before
	}
}

// drop removes the folders of versions that nobody is reading.
func (d *disk) drop(gone map[string]bool) error {
	entries, err := os.ReadDir(d.root)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, entry := range entries {
		if digest := "sha256:" + entry.Name(); gone[digest] && d.busy[digest] == 0 {
			if err := os.RemoveAll(filepath.Join(d.root, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop takes models that nobody uses out; the caller closes them.
func (p *pool) drop(gone map[string]bool) (idle []*served) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for digest, at := range p.bases {
		if gone[digest] && at.users == 0 && at.model != nil {
			idle = append(idle, at.model)
			delete(p.bases, digest)
		}
	}
	return idle
}

// touches tells whether a key, or one of the digests that it is the sum of, is gone.
func touches(gone map[string]bool, key string, parts []string) bool {
	return gone[key] || slices.ContainsFunc(parts, func(digest string) bool { return gone[digest] })
}
