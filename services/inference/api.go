package inference

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"descant/pkg/bus"
	"descant/pkg/lifecycle"
	"descant/pkg/openai"
	"descant/pkg/registry"
)

// apiOff as an address serves no HTTP API.
const apiOff = "off"

// serveAPI serves what a model server behind a Kubernetes gateway has: completions in OpenAI's dialect by the handler that
// answers on the bus, health and metrics. When ctx ends it finishes the answers that are being given; meanwhile it says
// that it takes no more.
func (s *Service) serveAPI(ctx context.Context) error {
	if s.cfg.APIAddr == apiOff {
		return nil
	}
	keys, err := openai.ParseKeys(s.cfg.APIKeys.Reveal())
	if err != nil {
		return err
	}
	var answers lifecycle.Drain
	return lifecycle.ServeDraining(ctx, s.cfg.APIAddr, s.apiHandler(keys, &answers), &answers, func(at string) {
		s.log.Info("HTTP API of this worker", "url", "http://"+at+"/v1")
	})
}

func (s *Service) apiHandler(keys openai.Keys, answers *lifecycle.Drain) http.Handler {
	mux := http.NewServeMux()
	completions := func(pattern string, handle http.HandlerFunc) {
		mux.HandleFunc(pattern, keys.Require(openai.Drained(answers, handle), openai.ScopeInfer))
	}
	ask := bus.ChatHandler(s.chat).Chunks
	completions("POST /v1/chat/completions", openai.ChatCompletions(ask, s.log))
	completions("POST /v1/completions", openai.Completions(ask, s.log))
	mux.HandleFunc("GET /v1/models", keys.Require(s.getModels, openai.ScopeInfer))
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		if !s.isReady() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.Handle("GET /metrics", s.deps.Metrics.Handler())
	handler := openai.WithErrors(mux)
	if keys.Empty() {
		handler = openai.LocalOnly(handler)
	}
	return openai.WithRequestID(handler)
}

// getModels lists what this worker answers for: the bases in its memory, and every published adapter.
func (s *Service) getModels(w http.ResponseWriter, r *http.Request) {
	entries, err := s.deps.Registry.List(r.Context())
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	var list []openai.Model
	for _, m := range s.pool.loaded() {
		list = append(list, openai.Model{ID: m.base.Ref, Object: "model", OwnedBy: "descant", Root: m.base.Ref})
	}
	for _, entry := range entries {
		found, err := registry.Find(entry, entry.GetName())
		if err != nil {
			continue // no version of it is left
		}
		version, base := found.Version, found.Version.GetBase()
		list = append(list, openai.Model{ID: entry.GetName(), Object: "model", Created: version.GetPublishedAt().GetSeconds(), OwnedBy: "descant",
			Root: found.Pinned(), Parent: &base})
	}
	slices.SortFunc(list, func(a, b openai.Model) int { return strings.Compare(a.ID, b.ID) })
	openai.WriteJSON(w, http.StatusOK, openai.NewList(list, false, func(m openai.Model) string { return m.ID }))
}
