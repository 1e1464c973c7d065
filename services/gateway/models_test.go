package gateway

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"descant/pkg/bus"
	"descant/pkg/openai"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// publish makes the next version of an adapter on a base.
func publish(t *testing.T, g *Gateway, name, base, weights string) registry.Resolved {
	t.Helper()
	return publishFiles(t, g, name, base, map[string]string{"adapter_config.json": "{}", "adapter_model.safetensors": weights})
}

func publishFiles(t *testing.T, g *Gateway, name, base string, files map[string]string) registry.Resolved {
	t.Helper()
	dir := t.TempDir()
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := g.deps.Registry.Publish(t.Context(), dir, &pb.AdapterManifest{Name: name, Base: base, BaseDigest: "sha256:" + base})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestModels(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	ctx := t.Context()
	first := publish(t, g, "support", "org/base", "one")
	second := publish(t, g, "support", "org/base", "two")
	if _, err := g.deps.Registry.SetAlias(ctx, "support", "prod", 1); err != nil {
		t.Fatal(err)
	}
	whole := publish(t, g, "whole", "org/base", "three")
	if err := g.deps.Bus.PutAdvert(ctx, &pb.WorkerAdvert{
		Id: "w-1", Ready: true,
		Bases: []*pb.BaseAdvert{{Base: "org/base", Digest: "sha256:org/base"}, {Base: "org/other", Digest: "sha256:o"}, {Base: "whole@1", Digest: whole.Version.GetDigest()}},
		Adapters: []*pb.AdapterState{
			{Digest: first.Version.GetDigest(), State: "ready"}, {Digest: second.Version.GetDigest(), State: "failed", Reason: "numbers"},
		},
	}); err != nil {
		t.Fatal(err)
	}
	all, err := g.allModels(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, m := range all {
		ids = append(ids, m.GetId())
	}
	if want := []string{"org/base", "org/other", "support", "whole"}; !slices.Equal(ids, want) {
		t.Fatalf("models are %v, want %v", ids, want)
	}
	if base := all[0]; base.GetKind() != "base" || base.GetDigest() != "sha256:org/base" {
		t.Errorf("base = %v", base)
	}
	support := all[2]
	if support.GetKind() != "adapter" || support.GetParent() != "org/base" || support.GetDigest() != second.Version.GetDigest() || len(support.GetVersions()) != 2 {
		t.Errorf("support = %v", support)
	}
	if a := support.GetAliases(); len(a) != 2 || a[0].GetAlias() != "latest" || a[0].GetVersion() != 2 || a[1].GetAlias() != "prod" || a[1].GetVersion() != 1 {
		t.Errorf("aliases = %v", a)
	}
	other, err := New(g.cfg, g.deps)
	if err != nil {
		t.Fatal(err)
	}
	again, err := other.allModels(ctx)
	if err != nil || len(again) != len(all) {
		t.Fatalf("another gateway tells %v, %v", again, err)
	}
	for i := range all {
		one, _ := bus.ToJSON(all[i])
		two, _ := bus.ToJSON(again[i])
		if string(one) != string(two) {
			t.Errorf("gateways differ: %s and %s", one, two)
		}
	}
	for id, version := range map[string]uint32{"support": 2, "support@prod": 1, "support@1": 1, "org/base": 0, "org/other": 0} {
		if m, err := g.model(ctx, id); err != nil || m.GetId() != id || m.GetVersion() != version {
			t.Errorf("model %s is %v, %v", id, m, err)
		}
	}
	parent := "org/base"
	if m, err := g.model(ctx, "support@prod"); err != nil || !reflect.DeepEqual(openAIModel(m), openai.Model{
		ID: "support@prod", Object: "model", Created: first.Version.GetPublishedAt().GetSeconds(), OwnedBy: "descant", Root: "support@1", Parent: &parent,
	}) {
		t.Errorf("over HTTP it is %+v, %v", openAIModel(m), err)
	}
	for id, want := range map[string]string{"supports": `did you mean "support"?`, "support@9": "no version 9", "org/none": `there is no model "org/none"`, "": "there is no model"} {
		if _, err := g.model(ctx, id); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("model %q: %v, want %q", id, err, want)
		}
	}
	workers, err := g.workersOf(ctx, second.Version.GetDigest())
	if err != nil || len(workers) != 1 || workers[0].GetWorker() != "w-1" || workers[0].GetState().GetReason() != "numbers" {
		t.Errorf("workers = %v, %v", workers, err)
	}
}

func TestPromote(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	ctx := t.Context()
	for _, weights := range []string{"one", "two"} {
		publish(t, g, "a", "m", weights)
	}
	if entry, err := g.promote(ctx, &pb.PromoteRequest{Ref: "a@1"}); err != nil || entry.GetAliases()["prod"] != 1 {
		t.Fatalf("promoted: %v, %v", entry, err)
	}
	weight := func(percent float64) *pb.PromoteRequest { return &pb.PromoteRequest{Ref: "a@2", Weight: &percent} }
	for _, percent := range []float64{0, -1, 0.001, 100.01, 1e300, math.NaN(), math.Inf(1)} {
		if _, err := g.promote(ctx, weight(percent)); err == nil || !strings.Contains(err.Error(), "more than 0% and at most 100%") {
			t.Errorf("a weight of %g%%: %v", percent, err)
		}
	}
	if entry, err := g.promote(ctx, weight(12.5)); err != nil || entry.GetCanaries()["prod"].GetShare() != 1250 {
		t.Errorf("a weight of 12.5%%: %v, %v", entry, err)
	}
	m, err := g.model(ctx, "a@prod")
	if a := m.GetAliases(); err != nil || len(a) != 2 || a[1].GetVersion() != 1 || a[1].GetCanary() != 2 || a[1].GetCanaryShare() != 1250 {
		t.Errorf("aliases = %v, %v", a, err)
	}
	if entry, err := g.promote(ctx, weight(100)); err != nil || entry.GetAliases()["prod"] != 2 || entry.GetCanaries()["prod"] != nil {
		t.Errorf("a weight of 100%%: %v, %v", entry, err)
	}
}
