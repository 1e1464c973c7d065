package inference

import (
	"context"

	"descant/pkg/generate"
	"descant/pkg/job"
	"descant/pkg/registry"
)

// engine is what a base needs of generate.Engine.
type engine interface {
	ReadAdapter(dir string) (weights, error)
	Combine(parts []weights, factors []float64) (weights, error)
	Load(ctx context.Context, key string, w weights) error
	UnloadAdapter(key string) bool
	Probe(ctx context.Context, key string, prompt []int32) ([]float32, error)
	Generate(ctx context.Context, req generate.Request, emit func(generate.Token) error) (generate.Finish, error)
	MaxContext() int
	Warm(ctx context.Context) error
	Stats() generate.Stats
	Close()
}

// generator is generate.Engine as an engine.
type generator struct{ *generate.Engine }

// ReadAdapter brings an adapter's folder into host memory.
func (g generator) ReadAdapter(dir string) (weights, error) { return g.Engine.ReadAdapter(dir) }

// Load brings an adapter from host memory to the device's.
func (g generator) Load(ctx context.Context, key string, w weights) error {
	return g.Engine.Load(ctx, key, unwrap(w))
}

// Combine makes one adapter of several.
func (g generator) Combine(parts []weights, factors []float64) (weights, error) {
	var list []generate.Part
	for i, w := range parts {
		list = append(list, generate.Part{Weights: unwrap(w), Factor: factors[i]})
	}
	return generate.Combine(list...)
}

// unwrap finds what the engine itself has read.
func unwrap(w weights) *generate.Weights {
	if known, ok := w.(checked); ok {
		w = known.weights
	}
	read, _ := w.(*generate.Weights)
	return read
}

// served is a base in memory with the adapters that are in its slots.
type served struct {
	base   registry.Base
	engine engine
	text   *language
	gate   *gate
	slots  *slots
}

// open brings a base into memory.
func (s *Service) open(_ context.Context, base registry.Base) (*served, error) {
	text, err := openLanguage(base)
	if err != nil {
		return nil, err
	}
	s.log.Info("loading base", "base", base.Ref, "digest", base.Digest)
	e, err := generate.New(s.deps.Device, base.Dir, s.cfg.engineOptions(text.tokenizer.VocabSize()))
	if err != nil {
		text.close()
		return nil, job.UserError(job.CodeBadModel, "model "+base.Ref+" cannot be served: "+err.Error(), "`descant doctor` checks this machine")
	}
	s.log.Info("base is loaded", "base", base.Ref)
	return &served{base: base, engine: generator{e}, text: text, gate: newGate(s.cfg), slots: newSlots(generator{e}, s.pins, s.left)}, nil
}

func (m *served) close() {
	m.slots.close()
	m.engine.Close()
	m.text.close()
}
