package inference

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"descant/pkg/bus"
	"descant/pkg/generate"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// chat answers one request.
func (s *Service) chat(ctx context.Context, req *pb.ChatRequest, send func(*pb.ChatChunk) error) error {
	if req.GetId() == "" {
		req.Id = fmt.Sprintf("chat-%016x", rand.Uint64())
	}
	if err := s.answer(ctx, req, send); err != nil {
		return bus.Fail(chatError(err).Proto())
	}
	return nil
}

// chatError classes an error of a request.
func chatError(err error) *job.Error {
	var tooLong *generate.ContextError
	var invalid *generate.InvalidError
	switch {
	case errors.As(err, &invalid):
		return badRequest(invalid.Problems)
	case errors.As(err, &tooLong):
		return job.UserError(job.CodeContextLength, tooLong.Error(), "")
	case errors.Is(err, generate.ErrInvalid):
		return job.UserError(job.CodeBadRequest, err.Error(), "correct the request")
	case errors.Is(err, generate.ErrBusy):
		return job.RefusedError(job.CodeOverloaded, err.Error(), "try again later, or start another inference worker", busyRetry)
	case errors.Is(err, generate.ErrClosed), errors.Is(err, generate.ErrSlotsFull):
		return job.InfrastructureError(job.CodeNotReady, "answer the request", err)
	}
	return job.AsError("answer the request", err)
}

// answer finds the model, renders the prompt and streams the text.
func (s *Service) answer(ctx context.Context, req *pb.ChatRequest, send func(*pb.ChatChunk) error) error {
	began := time.Now()
	messages, err := conversation(req)
	if err != nil {
		return err
	}
	if req.Stream != nil && !req.GetStream() {
		send = whole(send)
	}
	tools, err := toolsJSON(req)
	if err != nil {
		return err
	}
	// Once, so that one answer never has two versions, whatever happens to aliases while it is made.
	wanted, err := s.resolve(ctx, req)
	if err != nil {
		return err
	}
	t, err := s.target(ctx, wanted)
	if err != nil {
		return err
	}
	defer t.release()
	q, err := s.prepare(t, req, messages, tools)
	if err != nil {
		return err
	}
	waiting := time.Now()
	leave, err := s.enter(ctx, t, int(req.GetN()))
	if err != nil {
		return err
	}
	s.meters.queued(t.model.base.Ref, waiting)
	s.tellSoon()
	defer s.tellSoon()
	defer leave()
	return s.generate(ctx, t, req, q, s.meters.answer(t.model.base.Ref, began, send))
}

// enter waits for the request's turn and has its adapter in a slot, where it stays until leave is called.
func (s *Service) enter(ctx context.Context, t target, n int) (leave func(), err error) {
	if t.key != "" && !t.model.slots.has(t.key) { // network and disk first: whoever waits for them holds no place
		if err := s.failures.recent(t.key); err != nil {
			return nil, err
		}
		if _, err := s.weights(ctx, t.model, t.adapters); err != nil {
			s.note(t.adapters, err)
			return nil, err
		}
	}
	s.tellSoon()
	place, err := t.model.gate.enter(ctx, t.key, n)
	if err != nil {
		return nil, err
	}
	if t.key == "" {
		return func() { t.model.gate.leave(place) }, nil
	}
	for {
		release, err := s.slot(ctx, t.model, t.adapters, true)
		if err == nil {
			return func() { release(); t.model.gate.leave(place) }, nil
		}
		if !errors.Is(err, generate.ErrSlotsFull) {
			t.model.gate.leave(place)
			return nil, err
		}
		helps, waited := t.model.gate.again(ctx, place)
		if waited != nil {
			return nil, waited
		}
		if !helps {
			t.model.gate.leave(place)
			return nil, err
		}
	}
}

// wanted is what a request's model stands for: versions of adapters, or a base.
type wanted struct {
	adapters registry.Combination // nil for a base
	base     string
}

// resolve finds what a request's model names: adapters that are published, a base that is configured or
// that some adapter was trained on, or nothing, which is the configured base.
func (s *Service) resolve(ctx context.Context, req *pb.ChatRequest) (wanted, error) {
	ref := cmp.Or(req.GetModel(), req.GetBase(), s.cfg.Model)
	if ref == "" {
		return wanted{}, job.UserError(job.CodeBadRequest, "model is empty and this worker has no base of its own", `name an adapter or a base: {"model":"my-adapter","prompt":"…"}`)
	}
	if ref != s.cfg.Model && registry.IsModel(ref) {
		found, err := s.deps.Registry.ResolveModel(ctx, ref, req.GetUser())
		return wanted{adapters: found}, err
	}
	return wanted{base: ref}, s.allowedBase(ctx, ref)
}

// target is the model that answers a request.
type target struct {
	model    *served
	adapters registry.Combination
	key      string // of the adapters in their slot, or ""
	name     string // pinned, or "" for the base
	release  func()
}

// target brings the base that a request wants into memory.
func (s *Service) target(ctx context.Context, w wanted) (target, error) {
	if w.adapters == nil {
		model, release, err := s.baseTarget(ctx, w.base)
		return target{model: model, release: release}, err
	}
	model, whole, release, err := s.modelOf(ctx, w.adapters[0].Resolved)
	if err != nil {
		return target{}, err
	}
	t := target{model: model, adapters: w.adapters, key: w.adapters.Key(), name: w.adapters.Pinned(), release: release}
	if whole {
		if t.key = ""; !w.adapters.Single() {
			release()
			return target{}, job.UserError(job.CodeBadRequest, w.adapters[0].Pinned()+" was trained as a whole and cannot be combined", "combine adapters")
		}
	}
	return t, nil
}

// baseTarget brings a base into memory. One that is there answers also while the place from which it came
// cannot be reached.
func (s *Service) baseTarget(ctx context.Context, ref string) (*served, func(), error) {
	base, err := s.deps.Bases.Base(ctx, ref)
	if err == nil {
		return s.pool.get(ctx, base)
	}
	if job.AsError("find base", err).Class == job.Infrastructure {
		for _, m := range s.pool.loaded() {
			if m.base.Ref != ref {
				continue
			}
			if model, release := s.pool.use(m.base.Digest); model != nil {
				return model, release, nil
			}
		}
	}
	return nil, nil, err
}

// allowedBase lets only bases through that this system works with anyway: a chat request shall not
// make a worker download any model there is.
func (s *Service) allowedBase(ctx context.Context, ref string) error {
	if ref == s.cfg.Model || strings.HasPrefix(ref, "builtin:") {
		return nil
	}
	for _, m := range s.pool.loaded() {
		if m.base.Ref == ref {
			return nil
		}
	}
	entries, err := s.deps.Registry.List(ctx)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		for _, version := range entry.GetVersions() {
			if version.GetBase() == ref {
				return nil
			}
		}
	}
	return job.UserError(job.CodeNotFound, fmt.Sprintf("model %q is not served here", ref), "name an adapter (`descant adapters list`), or the base of one")
}
