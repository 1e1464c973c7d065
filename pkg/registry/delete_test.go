package registry_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"descant/pkg/pb"
	"descant/pkg/registry"
)

func TestDelete(t *testing.T) {
	t.Parallel()
	r, _ := open(t)
	ctx, now := t.Context(), time.Unix(1000, 0)
	publish := func(weights string) registry.Resolved {
		t.Helper()
		got, err := r.Publish(ctx, adapterFolder(t, weights), &pb.AdapterManifest{Name: "a", Job: "ft-" + weights, Base: "m", BaseDigest: "sha256:b"})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	one, two, three := publish("1"), publish("2"), publish("3")
	for _, version := range []uint32{1, 2, 3} {
		if _, err := r.SetAlias(ctx, "a", "prod", version); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.SetAlias(ctx, "a", "old", 2); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Promote(ctx, three.Pinned(), "old", 100); err != nil {
		t.Fatal(err)
	}
	entry, err := r.Delete(ctx, three.Pinned(), now)
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]uint32{registry.Latest: 2, "old": 2}; !maps.Equal(entry.GetAliases(), want) || len(entry.GetCanaries()) != 0 || len(entry.GetHistory()) != 0 {
		t.Errorf("left is %v", entry)
	}
	for ref, want := range map[string]string{"a@3": "was deleted", "a@" + three.Version.GetDigest(): "no version with digest", "a@prod": "no alias"} {
		if _, err := r.Resolve(ctx, ref); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", ref, err, want)
		}
	}
	if found, err := r.Resolve(ctx, "a"); err != nil || found.Pinned() != two.Pinned() {
		t.Errorf("latest is %v, %v", found, err)
	}
	// What is published again, be it the same, gets a number of its own.
	if again := publish("3"); again.Version.GetVersion() != 4 || again.Version.GetDigest() != three.Version.GetDigest() {
		t.Errorf("published again it is %v", again.Version)
	}
	if _, err := r.Delete(ctx, "a@old", now); err == nil {
		t.Error("an alias can be deleted as a version")
	}
	if _, err := r.Delete(ctx, "a", now); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"a", one.Pinned(), "a@old"} {
		if _, err := r.Resolve(ctx, ref); err == nil {
			t.Errorf("%s is still there", ref)
		}
	}
	for _, ref := range []string{"a", "b"} {
		if _, err := r.Delete(ctx, ref, now); err == nil {
			t.Errorf("%s was deleted though it is not there", ref)
		}
	}
}
