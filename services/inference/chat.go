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
	waiting := time.Now()
	place, err := s.enter(ctx, t, wanted, int(req.GetN()))
	if err != nil {
		return err
	}
	s.meters.queued(t.model.base.Ref, waiting)
	s.tellSoon()
	defer s.tellSoon()
	defer t.model.gate.leave(place)
	return s.generate(ctx, t, req, messages, tools, s.meters.answer(t.model.base.Ref, began, send))
}

// enter waits for the request's turn and has its adapter in a slot, where it stays until the place is given back.
func (s *Service) enter(ctx context.Context, t target, w wanted, n int) (*ticket, error) {
	if t.key != "" && !t.model.touch(t.key) { // the network first: whoever waits for it holds no place
		if _, err := s.deps.Registry.Fetch(ctx, w.adapter.Version, s.cfg.WorkDir); err != nil {
			return nil, err
		}
	}
	s.tellSoon()
	place, err := t.model.gate.enter(ctx, t.key, n)
	if err != nil {
		return nil, err
	}
	if t.key == "" {
		return place, nil
	}
	for {
		err := s.ensure(ctx, t.model, w.adapter, true)
		if err == nil {
			s.wake()
			return place, nil
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

// wanted is what a request's model stands for: a version of an adapter, or a base.
type wanted struct {
	adapter registry.Resolved // its Version is nil for a base
	base    string
}

// resolve finds what a request's model names: an adapter that is published, a base that is configured
// or that some adapter was trained on, or nothing, which is the configured base.
func (s *Service) resolve(ctx context.Context, req *pb.ChatRequest) (wanted, error) {
	ref := cmp.Or(req.GetModel(), req.GetBase(), s.cfg.Model)
	if ref == "" {
		return wanted{}, job.UserError(job.CodeBadRequest, "model is empty and this worker has no base of its own", `name an adapter or a base: {"model":"my-adapter","prompt":"…"}`)
	}
	if ref != s.cfg.Model && job.ValidName(strings.SplitN(ref, "@", 2)[0]) {
		found, err := s.deps.Registry.ResolveFor(ctx, ref, req.GetUser())
		return wanted{adapter: found}, err
	}
	return wanted{base: ref}, s.allowedBase(ctx, ref)
}

// target is the model that answers a request.
type target struct {
	model   *served
	key     string // of the adapter, or ""
	name    string // pinned, or "" for the base
	release func()
}

// target brings the base that a request wants into memory.
func (s *Service) target(ctx context.Context, w wanted) (target, error) {
	if w.adapter.Version != nil {
		model, key, release, err := s.baseOf(ctx, w.adapter)
		return target{model: model, key: key, name: w.adapter.Pinned(), release: release}, err
	}
	base, err := s.deps.Bases.Base(ctx, w.base)
	if err != nil {
		return target{}, err
	}
	model, release, err := s.pool.get(ctx, base)
	return target{model: model, release: release}, err
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
