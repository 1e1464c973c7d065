package inference

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"descant/pkg/generate"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// loader is the list of names whose newest version should be loaded. The watch of the registry puts
// them in and must not wait for a load.
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
	l.pending[entry.GetName()] = entry
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
	if v := latest(entry); v != nil {
		return v.GetPublishedAt().AsTime()
	}
	return time.Time{}
}

func latest(entry *pb.AdapterEntry) *pb.AdapterVersion {
	n := entry.GetAliases()[registry.Latest]
	if n == 0 || int(n) > len(entry.GetVersions()) {
		return nil
	}
	return entry.GetVersions()[n-1]
}

// load loads what the registry tells of until ctx ends: new adapters in any case, older ones while
// there is room and their base is in memory. What is not loaded here is loaded by its first request.
func (s *Service) load(ctx context.Context) {
	tried := map[string]bool{} // digests that were dealt with; the watch repeats itself
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
		version := latest(entry)
		if version == nil || tried[version.GetDigest()] {
			continue
		}
		tried[version.GetDigest()] = true
		fresh := version.GetPublishedAt().AsTime().After(s.started)
		found := registry.Resolved{Name: entry.GetName(), Version: version}
		if fresh {
			s.states.set(found, statePending, "")
		}
		err := s.preload(lifecycle.Working(ctx), found, fresh)
		name := registry.Pinned(entry.GetName(), version.GetVersion())
		switch {
		case err == nil:
			s.log.Info("adapter is ready", "adapter", name)
			s.wake()
		case errors.Is(err, errLater), errors.Is(err, generate.ErrSlotsFull):
			s.log.Debug("adapter will be loaded by its first request", "adapter", name)
		default:
			s.states.set(found, stateFailed, err.Error())
			s.log.Error("cannot load adapter; its first request will try again", "adapter", name, "error", err)
		}
	}
}

// errLater: the adapter's base is not in memory and the adapter is not new.
var errLater = errors.New("left to the first request")

func (s *Service) preload(ctx context.Context, found registry.Resolved, fresh bool) error {
	version := found.Version
	loaded := slices.ContainsFunc(s.pool.loaded(), func(m *served) bool { return m.base.Digest == version.GetBaseDigest() })
	if !fresh && !loaded {
		return errLater
	}
	model, key, release, err := s.baseOf(ctx, found)
	if err != nil {
		return err
	}
	defer release()
	if key == "" {
		return nil
	}
	return s.ensure(ctx, model, found, fresh)
}

// baseOf brings the base of a published version into memory. The key is empty for a version that was trained as a whole:
// then the model itself is it.
func (s *Service) baseOf(ctx context.Context, found registry.Resolved) (model *served, key string, release func(), err error) {
	version := found.Version
	if version.GetBase() == "" {
		return nil, "", nil, job.BugError("serve adapter "+found.Pinned(), errors.New("its registry entry names no base"))
	}
	manifest, err := s.deps.Registry.Manifest(ctx, version)
	if err != nil {
		return nil, "", nil, err
	}
	if isWhole(manifest) {
		dir, err := s.deps.Registry.Fetch(ctx, version, s.cfg.WorkDir)
		if err != nil {
			return nil, "", nil, err
		}
		model, release, err = s.pool.get(ctx, registry.Base{Ref: found.Pinned(), Dir: dir, Digest: version.GetDigest()})
		return model, "", release, err
	}
	base, err := s.deps.Bases.Base(ctx, version.GetBase())
	if err != nil {
		return nil, "", nil, err
	}
	if base.Digest != version.GetBaseDigest() {
		return nil, "", nil, job.UserError(job.CodeBadModel,
			fmt.Sprintf("adapter %s was trained on %s with digest %s, here that name has digest %s", found.Pinned(), version.GetBase(), version.GetBaseDigest(), base.Digest),
			"train the adapter again, or bring back that revision of the base")
	}
	model, release, err = s.pool.get(ctx, base)
	return model, version.GetDigest(), release, err
}

// ensure loads a version on its base and notes how far it is.
func (s *Service) ensure(ctx context.Context, model *served, found registry.Resolved, evict bool) error {
	digest := found.Version.GetDigest()
	if model.touch(digest) {
		return nil
	}
	s.states.set(found, stateDownloading, "")
	err := model.ensure(ctx, s.deps.Registry, found.Version, s.cfg.WorkDir, evict)
	switch {
	case err == nil:
		s.states.set(found, stateReady, "")
	case errors.Is(err, generate.ErrSlotsFull), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		s.states.forget(digest) // nothing is wrong with it
	default:
		s.states.set(found, stateFailed, err.Error())
	}
	return err
}

// isWhole tells whether a version is a whole model and not an adapter.
func isWhole(manifest *pb.AdapterManifest) bool {
	return !slices.ContainsFunc(manifest.GetFiles(), func(f *pb.File) bool { return f.GetName() == "adapter_config.json" })
}
