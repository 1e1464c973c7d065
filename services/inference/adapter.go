package inference

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"descant/pkg/generate"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// checked are the weights of an adapter that fits its base, with what proves them.
type checked struct {
	weights
	probe *pb.Probe
	parts []string // digests of a sum
}

// modelOf brings into memory what answers for a published version: its base, or the model itself where
// the version was trained as a whole.
func (s *Service) modelOf(ctx context.Context, found registry.Resolved) (model *served, whole bool, release func(), err error) {
	version := found.Version
	if version.GetBase() == "" {
		return nil, false, nil, job.BugError("serve adapter "+found.Pinned(), errors.New("its registry entry names no base"))
	}
	// What is in memory needs neither disk nor network.
	if model, release := s.pool.use(version.GetDigest()); model != nil {
		return model, true, release, nil
	}
	if s.host.has(version.GetDigest()) {
		if model, release := s.pool.use(version.GetBaseDigest()); model != nil {
			return model, false, release, nil
		}
	}
	dir, manifest, err := s.disk.manifest(ctx, version)
	if err != nil {
		return nil, false, nil, err
	}
	if isWhole(manifest) {
		model, release, err = s.pool.get(ctx, registry.Base{Ref: found.Pinned(), Dir: dir, Digest: version.GetDigest()})
		return model, true, release, err
	}
	if model, release := s.pool.use(version.GetBaseDigest()); model != nil {
		return model, false, release, nil
	}
	base, err := s.deps.Bases.Base(ctx, version.GetBase())
	if err != nil {
		return nil, false, nil, err
	}
	if base.Digest != version.GetBaseDigest() {
		return nil, false, nil, job.UserError(job.CodeBadModel,
			fmt.Sprintf("adapter %s was trained on %s with digest %s, here that name has digest %s", found.Pinned(), version.GetBase(), version.GetBaseDigest(), base.Digest),
			"train the adapter again, or bring back that revision of the base")
	}
	model, release, err = s.pool.get(ctx, base)
	return model, false, release, err
}

// isWhole tells whether a version is a whole model and not an adapter.
func isWhole(manifest *pb.AdapterManifest) bool {
	return !slices.ContainsFunc(manifest.GetFiles(), func(f *pb.File) bool { return f.GetName() == "adapter_config.json" })
}

// weights brings an adapter, or the sum of several, into host memory.
func (s *Service) weights(ctx context.Context, model *served, c registry.Combination) (weights, error) {
	if c.Single() {
		return s.host.get(ctx, c.Key(), func(ctx context.Context) (weights, error) { return s.read(ctx, model, c[0].Resolved) })
	}
	return s.host.get(ctx, c.Key(), func(ctx context.Context) (weights, error) {
		var parts []weights
		var factors []float64
		for _, one := range c {
			w, err := s.weights(ctx, model, registry.Combination{{Resolved: one.Resolved, Weight: 1}})
			if err != nil {
				return nil, err
			}
			parts, factors = append(parts, w), append(factors, one.Weight)
		}
		sum, err := model.engine.Combine(parts, factors)
		if err != nil {
			return nil, job.UserError(job.CodeBadRequest, fmt.Sprintf("adapters %s cannot be combined: %v", c.Pinned(), err), "combine adapters of the same rank on one base")
		}
		return checked{weights: sum, parts: c.Digests()}, nil
	})
}

// read brings one adapter from disk or the object store into host memory, if it fits the base.
func (s *Service) read(ctx context.Context, model *served, found registry.Resolved) (w weights, err error) {
	if !s.disk.has(found.Version.GetDigest()) {
		s.states.set(found, stateDownloading, "")
	}
	err = s.disk.read(ctx, found.Version, func(dir string, manifest *pb.AdapterManifest) error {
		if err := fits(found.Pinned(), manifest, model.text.digests()); err != nil {
			return err
		}
		read, err := model.engine.ReadAdapter(dir)
		if err != nil {
			return job.UserError(job.CodeBadModel, fmt.Sprintf("adapter %s cannot be loaded: %v", found.Pinned(), err), "publish one that fits its base")
		}
		w = checked{weights: read, probe: manifest.GetProbe()}
		return nil
	})
	if err == nil {
		s.states.set(found, stateLoaded, "")
	}
	return w, err
}

// digests are those of a base's text side, by what they are.
type digests struct{ tokenizer, template string }

// fits refuses an adapter that was trained with other words than the base that would serve it.
func fits(name string, manifest *pb.AdapterManifest, here digests) error {
	for _, one := range []struct{ what, trained, here string }{
		{"tokenizer", manifest.GetTokenizerDigest(), here.tokenizer},
		{"chat template", manifest.GetTemplateDigest(), here.template},
	} {
		if one.trained != "" && one.trained != one.here {
			return job.UserError(job.CodeBadModel, fmt.Sprintf("adapter %s was trained with the %s %s, its base here has %s", name, one.what, one.trained, one.here),
				"train the adapter again, or bring back that revision of the base")
		}
	}
	return nil
}

// slot brings an adapter, or the sum of several, into a slot of its base, where it stays until release
// is called. A full device without an idle adapter is generate.ErrSlotsFull.
func (s *Service) slot(ctx context.Context, model *served, c registry.Combination, evict bool) (release func(), err error) {
	if err := s.failures.recent(c.Key()); err != nil {
		return nil, err
	}
	return model.slots.acquire(ctx, order{
		key: c.Key(), parts: partsOf(c), evict: evict,
		load: func(ctx context.Context) (weights, error) { return s.weights(ctx, model, c) },
		prove: func(ctx context.Context, w weights) error {
			if !c.Single() {
				return nil // no trainer has seen the sum
			}
			s.states.set(c[0].Resolved, stateWarm, "")
			known, _ := w.(checked)
			return prove(ctx, model.engine, c.Key(), c[0].Pinned(), known.probe, s.cfg.rounds())
		},
		done: func(err error) { s.note(c, err) },
	})
}

// partsOf lists what a combination is the sum of; nil for a single adapter.
func partsOf(c registry.Combination) []string {
	if c.Single() {
		return nil
	}
	return c.Digests()
}

// note tells how the way of an adapter to its slot has ended. Of a sum only the parts have states.
func (s *Service) note(c registry.Combination, err error) {
	passing := errors.Is(err, generate.ErrSlotsFull) || errors.Is(err, generate.ErrClosed) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	if err != nil && !passing {
		s.failures.add(c.Key(), err)
	}
	switch {
	case !c.Single():
	case err == nil:
		s.states.set(c[0].Resolved, stateReady, "")
	case passing:
		s.left(c.Key()) // nothing is wrong with it
	default:
		s.states.set(c[0].Resolved, stateFailed, err.Error())
	}
}

// left notes that an adapter has lost its slot.
func (s *Service) left(key string) {
	if s.host.has(key) {
		s.states.move(key, stateLoaded)
	} else {
		s.states.forget(key)
	}
}
