package gateway

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// Kinds of models.
const (
	kindBase    = "base"
	kindAdapter = "adapter"
)

// modelService is the micro service that tells what can answer, in JSON. It is made from the registry and
// the adverts of workers alone, so that every gateway tells the same.
func (g *Gateway) modelService() bus.Service {
	return bus.Service{
		Name: "models", Version: g.deps.Version, Description: "what can answer requests: bases, and adapters with their versions and aliases",
		Methods: []bus.Method{
			bus.NewMethod("models.list", func(ctx context.Context, _ *pb.ListModelsRequest) (*pb.ListModelsResponse, error) {
				all, err := g.allModels(ctx)
				return &pb.ListModelsResponse{Models: all}, refused(err)
			}),
			bus.NewMethod("models.get", func(ctx context.Context, req *pb.GetModelRequest) (*pb.Model, error) {
				one, err := g.model(ctx, req.GetId())
				return one, refused(err)
			}),
		},
	}
}

// allModels lists bases, then adapters, each by id.
func (g *Gateway) allModels(ctx context.Context) ([]*pb.Model, error) {
	entries, err := g.deps.Registry.List(ctx)
	if err != nil {
		return nil, err
	}
	adverts, err := g.deps.Bus.Adverts(ctx)
	if err != nil {
		return nil, job.InfrastructureError(job.CodeBus, "list workers", err)
	}
	all := baseModels(entries, adverts)
	for _, entry := range entries {
		if found, err := registry.Find(entry, entry.GetName()); err == nil {
			all = append(all, modelOf(entry.GetName(), entry, found.Version))
		}
	}
	return all, nil
}

// baseModels are the bases of published adapters and those that workers have in memory. A base that
// was published as two snapshots stands there once, as the newer one.
func baseModels(entries []*pb.AdapterEntry, adverts []*pb.WorkerAdvert) []*pb.Model {
	bases := map[string]*pb.Model{}
	newest := map[string]*pb.AdapterVersion{}
	versions := map[string]bool{} // a version that is a whole model is in memory like a base
	for _, entry := range entries {
		for _, v := range entry.GetVersions() {
			versions[v.GetDigest()] = true
			if v.GetDeletedAt() != nil {
				continue
			}
			at := bases[v.GetBase()]
			if at == nil {
				at = &pb.Model{Id: v.GetBase(), Kind: kindBase, CreatedAt: v.GetPublishedAt()}
				bases[v.GetBase()] = at
			}
			if v.GetPublishedAt().AsTime().Before(at.GetCreatedAt().AsTime()) {
				at.CreatedAt = v.GetPublishedAt()
			}
			if last := newest[v.GetBase()]; last == nil || cmp.Or(v.GetPublishedAt().AsTime().Compare(last.GetPublishedAt().AsTime()), strings.Compare(v.GetDigest(), last.GetDigest())) > 0 {
				newest[v.GetBase()], at.Digest = v, v.GetBaseDigest()
			}
		}
	}
	for _, advert := range adverts {
		for _, base := range advert.GetBases() {
			if _, there := bases[base.GetBase()]; !there && !versions[base.GetDigest()] {
				bases[base.GetBase()] = &pb.Model{Id: base.GetBase(), Kind: kindBase, Digest: base.GetDigest()}
			}
		}
	}
	delete(bases, "")
	return slices.SortedFunc(maps.Values(bases), func(a, b *pb.Model) int { return strings.Compare(a.GetId(), b.GetId()) })
}

func modelOf(id string, entry *pb.AdapterEntry, version *pb.AdapterVersion) *pb.Model {
	m := &pb.Model{
		Id: id, Kind: kindAdapter, Parent: version.GetBase(), ParentDigest: version.GetBaseDigest(), Digest: version.GetDigest(),
		Version: version.GetVersion(), CreatedAt: version.GetPublishedAt(),
	}
	for _, v := range entry.GetVersions() {
		if v.GetDeletedAt() != nil {
			continue
		}
		m.Versions = append(m.Versions, &pb.ModelVersion{
			Version: v.GetVersion(), Digest: v.GetDigest(), Base: v.GetBase(), BaseDigest: v.GetBaseDigest(), CreatedAt: v.GetPublishedAt(),
		})
	}
	for _, alias := range slices.Sorted(maps.Keys(entry.GetAliases())) {
		split := entry.GetCanaries()[alias]
		m.Aliases = append(m.Aliases, &pb.ModelAlias{Alias: alias, Version: entry.GetAliases()[alias], Canary: split.GetVersion(), CanaryShare: split.GetShare()})
	}
	return m
}

// model finds one model by an adapter's reference or the name of a base.
func (g *Gateway) model(ctx context.Context, id string) (*pb.Model, error) {
	all, err := g.allModels(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if m.GetId() == id {
			return m, nil
		}
	}
	ref, err := registry.ParseReference(id)
	if err != nil {
		return nil, job.UserError(job.CodeNotFound, fmt.Sprintf("there is no model %q", id), "name an adapter (`descant adapters list`), or the base of one")
	}
	entry, err := g.deps.Registry.Entry(ctx, ref.Name)
	if err != nil {
		return nil, err
	}
	found, err := registry.Find(entry, id)
	if err != nil {
		return nil, err
	}
	return modelOf(id, entry, found.Version), nil
}

// workersOf tells how far a version is on the workers that are alive.
func (g *Gateway) workersOf(ctx context.Context, digest string) ([]*pb.WorkerAdapter, error) {
	adverts, err := g.deps.Bus.Adverts(ctx)
	if err != nil {
		return nil, job.InfrastructureError(job.CodeBus, "list workers", err)
	}
	var list []*pb.WorkerAdapter
	for _, advert := range adverts {
		for _, state := range advert.GetAdapters() {
			if state.GetDigest() == digest {
				list = append(list, &pb.WorkerAdapter{Worker: advert.GetId(), State: state})
			}
		}
	}
	return list, nil
}
