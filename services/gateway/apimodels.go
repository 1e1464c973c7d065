package gateway

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"descant/pkg/job"
	"descant/pkg/openai"
	"descant/pkg/registry"
)

// models lists the bases and the adapters that can be asked: every adapter by its name, with its base as parent.
func (g *Gateway) models(ctx context.Context) ([]openai.Model, error) {
	entries, err := g.deps.Registry.List(ctx)
	if err != nil {
		return nil, err
	}
	workers, err := g.deps.Bus.Workers(ctx, "inference")
	if err != nil {
		return nil, job.InfrastructureError(job.CodeBus, "list workers", err)
	}
	bases := map[string]int64{}
	base := func(name string, since int64) {
		if name != "" && (bases[name] == 0 || since < bases[name]) {
			bases[name] = since
		}
	}
	var all []openai.Model
	for _, worker := range workers {
		base(worker.GetBase(), worker.GetStartedAt().GetSeconds())
	}
	for _, entry := range entries {
		found, err := g.deps.Registry.Resolve(ctx, entry.GetName())
		if err != nil {
			continue // every version of it is gone
		}
		all = append(all, adapterModel(entry.GetName(), found))
		base(found.Version.GetBase(), found.Version.GetPublishedAt().GetSeconds())
	}
	for name, since := range bases {
		all = append(all, openai.Model{ID: name, Object: "model", Created: since, OwnedBy: "descant", Root: name})
	}
	slices.SortFunc(all, func(a, b openai.Model) int { return strings.Compare(a.ID, b.ID) })
	return all, nil
}

func adapterModel(id string, found registry.Resolved) openai.Model {
	parent := found.Version.GetBase()
	return openai.Model{ID: id, Object: "model", Created: found.Version.GetPublishedAt().GetSeconds(), OwnedBy: "descant",
		Root: found.Pinned(), Parent: &parent}
}

func (g *Gateway) getModels(w http.ResponseWriter, r *http.Request) {
	all, err := g.models(r.Context())
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	openai.WriteJSON(w, http.StatusOK, openai.NewList(all, false, func(m openai.Model) string { return m.ID }))
}

// getModel finds a base by its name, or an adapter by any reference to it.
func (g *Gateway) getModel(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("model")
	if job.ValidName(strings.SplitN(id, "@", 2)[0]) {
		found, err := g.deps.Registry.Resolve(r.Context(), id)
		if err != nil {
			openai.WriteError(w, modelError(err))
			return
		}
		openai.WriteJSON(w, http.StatusOK, adapterModel(id, found))
		return
	}
	all, err := g.models(r.Context())
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	i := slices.IndexFunc(all, func(m openai.Model) bool { return m.ID == id })
	if i < 0 {
		openai.WriteError(w, openai.NotFound("model", openai.CodeModelNotFound, "there is no model %q here; GET /v1/models lists them", id))
		return
	}
	openai.WriteJSON(w, http.StatusOK, all[i])
}

// modelError is an error about the model of a request's path.
func modelError(err error) error {
	e := *openai.AsError(err)
	if e.Status == http.StatusNotFound {
		param, code := "model", openai.CodeModelNotFound
		e.Param, e.Code = &param, &code
	}
	return &e
}
