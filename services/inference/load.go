package inference

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"descant/pkg/generate"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// loader is the list of names whose versions should be looked at. The watch of the registry puts them in
// and must not wait for a load. What it tells is a hint: it may come late, twice, in another order or not
// at all; an entry says everything, and all entries are listed again from time to time.
type loader struct {
	mu      sync.Mutex
	pending map[string]*pb.AdapterEntry
	wake    chan struct{}
}

func newLoader() *loader {
	return &loader{pending: map[string]*pb.AdapterEntry{}, wake: make(chan struct{}, 1)}
}

func (l *loader) put(entry *pb.AdapterEntry) {
	l.mu.Lock()
	// Versions are only ever added, so fewer of them are an older entry that comes late.
	if before := l.pending[entry.GetName()]; len(before.GetVersions()) <= len(entry.GetVersions()) {
		l.pending[entry.GetName()] = entry
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default: // it is awake
	}
}

// take returns the newest of what is waiting, as that is what somebody is waiting for.
func (l *loader) take() *pb.AdapterEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var newest *pb.AdapterEntry
	for _, entry := range l.pending {
		if newest == nil || publishedAt(entry).After(publishedAt(newest)) {
			newest = entry
		}
	}
	if newest != nil {
		delete(l.pending, newest.GetName())
	}
	return newest
}

func publishedAt(entry *pb.AdapterEntry) time.Time {
	if n := len(entry.GetVersions()); n > 0 {
		return entry.GetVersions()[n-1].GetPublishedAt().AsTime()
	}
	return time.Time{}
}

// current lists the versions of an entry that requests can get without naming a version: the newest
// first, then those of the other aliases and splits.
func current(entry *pb.AdapterEntry) (list []registry.Resolved) {
	add := func(number uint32) {
		if number == 0 || int(number) > len(entry.GetVersions()) {
			return
		}
		found := registry.Resolved{Name: entry.GetName(), Version: entry.GetVersions()[number-1]}
		if !slices.ContainsFunc(list, func(have registry.Resolved) bool { return have.Version == found.Version }) {
			list = append(list, found)
		}
	}
	add(entry.GetAliases()[registry.Latest])
	for _, number := range entry.GetAliases() {
		add(number)
	}
	for _, split := range entry.GetCanaries() {
		add(split.GetVersion())
	}
	return list
}

// load loads what the registry tells of until ctx ends: in any case what is new or newly named by an
// alias, and the rest while there is room and their base is in memory. What is not loaded here is loaded
// by its first request. What failed for a reason that may pass is tried again when it is told of again.
func (s *Service) load(ctx context.Context) {
	settled := map[string]bool{} // digests that were dealt with; the watch repeats itself
	known := map[string]bool{}   // names that were told of before
	for {
		entry := s.loads.take()
		if entry == nil {
			select {
			case <-ctx.Done():
				return
			case <-s.loads.wake:
			}
			continue
		}
		gone := deleted(entry)
		s.drop(gone)
		maps.DeleteFunc(settled, func(digest string, _ bool) bool { return gone[digest] })
		fresh := s.pinned(entry)
		maps.DeleteFunc(settled, func(digest string, _ bool) bool { return slices.Contains(fresh, digest) })
		list := current(entry)
		for _, pin := range s.pinnedOf(entry) {
			if !slices.ContainsFunc(list, func(have registry.Resolved) bool { return have.Version == pin.Version }) {
				list = append(list, pin)
			}
		}
		for _, found := range list {
			digest := found.Version.GetDigest()
			if settled[digest] || ctx.Err() != nil {
				continue
			}
			wanted := known[entry.GetName()] || found.Version.GetPublishedAt().AsTime().After(s.started) || s.pins.has(digest)
			settled[digest] = s.preload(lifecycle.Working(ctx), found, wanted)
		}
		known[entry.GetName()] = true
		if err := s.disk.trim(s.pins.has); err != nil {
			s.log.Warn("cannot clear old adapters from this disk", "dir", s.cfg.WorkDir, "error", err)
		}
	}
}

// pinned has the references of the configuration and the pins of the registry pin what they stand for now, and returns the
// digests that the registry pins anew.
func (s *Service) pinned(entry *pb.AdapterEntry) (fresh []string) {
	wished, err := registry.PinnedOf(entry)
	if err != nil {
		s.log.Warn("a pinned adapter is not there", "error", err)
	}
	var digests []string
	for _, found := range wished {
		digests = append(digests, found.Version.GetDigest())
	}
	fresh, changed := s.pins.wish(entry.GetName(), digests)
	if changed {
		s.wake()
	}
	refs, err := s.cfg.pinned()
	if err != nil {
		return fresh // Validate has seen it
	}
	for _, ref := range refs {
		if ref.Name != entry.GetName() {
			continue
		}
		found, err := registry.Find(entry, ref.String())
		if err != nil {
			s.log.Warn("a pinned adapter is not there", "pin", ref.String(), "error", err)
			continue
		}
		s.pins.set(ref.String(), found.Version.GetDigest())
	}
	return fresh
}

// pinnedOf lists the versions of an entry that are pinned, whether or not requests can get them without naming them.
func (s *Service) pinnedOf(entry *pb.AdapterEntry) (list []registry.Resolved) {
	for _, version := range entry.GetVersions() {
		if version.GetDeletedAt() == nil && s.pins.has(version.GetDigest()) {
			list = append(list, registry.Resolved{Name: entry.GetName(), Version: version})
		}
	}
	return list
}

// preload loads a version that nobody has asked for yet and tells whether there is nothing more to be
// done about it.
func (s *Service) preload(ctx context.Context, found registry.Resolved, wanted bool) (settled bool) {
	open := slices.ContainsFunc(s.pool.loaded(), func(m *served) bool { return m.base.Digest == found.Version.GetBaseDigest() })
	if !wanted && !open {
		return true
	}
	log := s.log.With("adapter", found.Pinned())
	if wanted {
		s.states.set(found, statePending, "")
	}
	err := s.bring(ctx, found, wanted)
	switch {
	case err == nil:
		log.Info("adapter is ready")
		s.wake()
		return true
	case errors.Is(err, generate.ErrSlotsFull):
		log.Debug("adapter will be loaded by its first request: all slots are in use")
		s.left(found.Version.GetDigest())
		return true
	}
	s.states.set(found, stateFailed, err.Error())
	if job.AsError("load adapter", err).Class == job.Infrastructure {
		log.Warn("cannot load adapter now; it is tried again", "error", err)
		return false
	}
	log.Error("cannot load adapter", "error", err)
	return true
}

// bring has a version in a slot, or a whole model in memory; then it is left to those who use it.
func (s *Service) bring(ctx context.Context, found registry.Resolved, evict bool) error {
	model, whole, release, err := s.modelOf(ctx, found)
	if err != nil {
		return err
	}
	defer release()
	if whole {
		s.states.set(found, stateReady, "")
		return nil
	}
	leave, err := s.slot(ctx, model, registry.Combination{{Resolved: found, Weight: 1}}, evict)
	if err != nil {
		return err
	}
	leave()
	return nil
}
