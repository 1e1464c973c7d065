package inference

import (
	"context"
	"errors"
	"slices"
	"sync"

	"descant/pkg/generate"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// engine is what a base needs of generate.Engine.
type engine interface {
	LoadAdapter(ctx context.Context, key, dir string) error
	UnloadAdapter(key string) bool
	Generate(ctx context.Context, req generate.Request, emit func(generate.Token) error) (generate.Finish, error)
	MaxContext() int
	Stats() generate.Stats
	Close()
}

// served is a base in memory with the adapters that are loaded on it.
type served struct {
	base   registry.Base
	engine engine
	text   *language
	gate   *gate

	// dropped hears of adapters that are no longer loaded.
	dropped func(key string)

	// loading is held while adapters are loaded or unloaded, so that an adapter is loaded once.
	loading sync.Mutex
	mu      sync.Mutex
	recent  []string // keys of loaded adapters, the least recently used first
}

// open brings a base into memory.
func (s *Service) open(_ context.Context, base registry.Base) (*served, error) {
	text, err := openLanguage(base)
	if err != nil {
		return nil, err
	}
	s.log.Info("loading base", "base", base.Ref, "digest", base.Digest)
	e, err := generate.New(s.deps.Device, base.Dir, generate.Options{
		MaxContext: s.cfg.MaxContext, MaxRows: s.cfg.MaxRows, Slots: s.cfg.Slots, MaxRank: s.cfg.MaxRank, UsedVocab: text.tokenizer.VocabSize(),
	})
	if err != nil {
		text.close()
		return nil, job.UserError(job.CodeBadModel, "model "+base.Ref+" cannot be served: "+err.Error(), "`descant doctor` checks this machine")
	}
	s.log.Info("base is loaded", "base", base.Ref)
	return &served{base: base, engine: e, text: text, gate: newGate(s.cfg), dropped: s.states.forget}, nil
}

func (m *served) close() {
	for _, key := range m.adapters() {
		m.dropped(key)
	}
	m.engine.Close()
	m.text.close()
}

// adapters returns the keys of the loaded adapters.
func (m *served) adapters() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.recent)
}

// touch marks a key as used just now and tells whether it is loaded.
func (m *served) touch(key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.Index(m.recent, key)
	if i < 0 {
		return false
	}
	m.recent = append(slices.Delete(m.recent, i, i+1), key)
	return true
}

// ensure loads a version of an adapter unless it is loaded. With evict, the least recently used
// adapters that no request uses make room for it. A full engine is generate.ErrSlotsFull.
func (m *served) ensure(ctx context.Context, reg *registry.Registry, version *pb.AdapterVersion, root string, evict bool) error {
	key := version.GetDigest()
	if m.touch(key) {
		return nil
	}
	m.loading.Lock()
	defer m.loading.Unlock()
	if m.touch(key) {
		return nil
	}
	dir, err := reg.Fetch(ctx, version, root)
	if err != nil {
		return err
	}
	for {
		err := m.engine.LoadAdapter(ctx, key, dir)
		if err == nil {
			m.mu.Lock()
			m.recent = append(m.recent, key)
			m.mu.Unlock()
			return nil
		}
		if !errors.Is(err, generate.ErrSlotsFull) {
			return err
		}
		if !evict || !m.dropOldest() {
			return err
		}
	}
}

// dropOldest unloads the least recently used adapter that no request uses, if there is one.
func (m *served) dropOldest() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.recent, func(key string) bool { return !m.gate.inUse(key) })
	if i < 0 {
		return false
	}
	m.engine.UnloadAdapter(m.recent[i])
	m.dropped(m.recent[i])
	m.recent = slices.Delete(m.recent, i, i+1)
	return true
}
