package gateway

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"descant/pkg/openai"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// openAIModel is a model as clients of OpenAI's API know it: an adapter has its base as parent, and the version that
// answers now as root.
func openAIModel(m *pb.Model) openai.Model {
	model := openai.Model{ID: m.GetId(), Object: "model", Created: m.GetCreatedAt().GetSeconds(), OwnedBy: "descant", Root: m.GetId()}
	if m.GetKind() == kindAdapter {
		parent := m.GetParent()
		name, _, _ := strings.Cut(m.GetId(), "@")
		model.Root, model.Parent = registry.Pinned(name, m.GetVersion()), &parent
	}
	return model
}

func (g *Gateway) getModels(w http.ResponseWriter, r *http.Request) {
	all, err := g.allModels(r.Context())
	if err != nil {
		openai.WriteError(w, err)
		return
	}
	list := make([]openai.Model, len(all))
	for i, m := range all {
		list[i] = openAIModel(m)
	}
	slices.SortFunc(list, func(a, b openai.Model) int { return strings.Compare(a.ID, b.ID) })
	openai.WriteJSON(w, http.StatusOK, openai.NewList(list, false, func(m openai.Model) string { return m.ID }))
}

// getModel finds a base by its name, or an adapter by any reference to it.
func (g *Gateway) getModel(w http.ResponseWriter, r *http.Request) {
	m, err := g.model(r.Context(), r.PathValue("model"))
	if err != nil {
		openai.WriteError(w, openai.AsModelError(err))
		return
	}
	openai.WriteJSON(w, http.StatusOK, openAIModel(m))
}

// deleteModel takes a version of an adapter away, or all of them.
func (g *Gateway) deleteModel(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("model")
	if _, err := g.deps.Registry.Delete(r.Context(), id, time.Now()); err != nil {
		openai.WriteError(w, openai.AsModelError(err))
		return
	}
	openai.WriteJSON(w, http.StatusOK, openai.Deleted{ID: id, Object: "model", Deleted: true})
}
