package inference

import (
	"slices"
	"strings"
	"sync"
	"time"

	"descant/pkg/bus"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// How far an adapter is on this worker.
const (
	statePending     = "pending"
	stateDownloading = "downloading"
	stateLoaded      = "loaded"
	stateWarm        = "warm"
	stateReady       = bus.AdapterReady
	stateFailed      = "failed"
)

// maxFailed bounds how many failures are told of; the oldest are forgotten.
const maxFailed = 64

// states remembers how far adapters are, for the advert.
type states struct {
	changed func()
	pins    *pins

	mu       sync.Mutex
	byDigest map[string]*pb.AdapterState
}

func newStates(changed func(), pins *pins) *states {
	return &states{changed: changed, pins: pins, byDigest: map[string]*pb.AdapterState{}}
}

// set notes that a version has come to a state.
func (s *states) set(found registry.Resolved, state, reason string) {
	version := found.Version
	s.mu.Lock()
	before := s.byDigest[version.GetDigest()]
	if before.GetState() == state && before.GetReason() == reason {
		s.mu.Unlock()
		return
	}
	s.byDigest[version.GetDigest()] = &pb.AdapterState{
		Digest: version.GetDigest(), Name: found.Name, Version: version.GetVersion(), BaseDigest: version.GetBaseDigest(),
		State: state, Reason: reason, Since: bus.Timestamp(time.Now()),
	}
	s.forgetFailed()
	s.mu.Unlock()
	s.changed()
}

// forgetFailed keeps the number of failures bounded; s.mu is held.
func (s *states) forgetFailed() {
	var failed []*pb.AdapterState
	for _, one := range s.byDigest {
		if one.GetState() == stateFailed {
			failed = append(failed, one)
		}
	}
	if len(failed) <= maxFailed {
		return
	}
	oldest := slices.MinFunc(failed, func(a, b *pb.AdapterState) int { return a.GetSince().AsTime().Compare(b.GetSince().AsTime()) })
	delete(s.byDigest, oldest.GetDigest())
}

// move notes that an adapter that is known has come to a state.
func (s *states) move(digest, state string) {
	s.mu.Lock()
	if one := s.byDigest[digest]; one != nil && one.GetState() != state {
		one.State, one.Reason, one.Since = state, "", bus.Timestamp(time.Now())
	}
	s.mu.Unlock()
	s.changed()
}

// forget removes what is no longer in memory.
func (s *states) forget(digest string) {
	s.mu.Lock()
	_, known := s.byDigest[digest]
	delete(s.byDigest, digest)
	s.mu.Unlock()
	if known {
		s.changed()
	}
}

// list returns all states by name and version. Host memory lets adapters go without a word: what is not
// kept there any more is left out.
func (s *states) list(kept func(digest string) bool) []*pb.AdapterState {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*pb.AdapterState
	for digest, one := range s.byDigest {
		if one.GetState() == stateLoaded && !kept(digest) {
			delete(s.byDigest, digest)
			continue
		}
		told := bus.Clone(one)
		told.Pinned = s.pins.has(digest)
		all = append(all, told)
	}
	slices.SortFunc(all, func(a, b *pb.AdapterState) int {
		if byName := strings.Compare(a.GetName(), b.GetName()); byName != 0 {
			return byName
		}
		return int(a.GetVersion()) - int(b.GetVersion())
	})
	return all
}
