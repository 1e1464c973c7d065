package registry_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"descant/pkg/pb"
	"descant/pkg/registry"
)

func TestPins(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	reg, _ := open(t)
	var digest string
	for i := range 2 {
		found, err := reg.Publish(ctx, adapterFolder(t, fmt.Sprint("weights ", i)), &pb.AdapterManifest{Name: "a", Job: fmt.Sprint("ft-", i), Base: "m", BaseDigest: "sha256:b"})
		if err != nil {
			t.Fatal(err)
		}
		digest = found.Version.GetDigest()
	}
	if _, err := reg.SetAlias(ctx, "a", "prod", 1); err != nil {
		t.Fatal(err)
	}
	pinned := func(entry *pb.AdapterEntry, err error, want ...string) {
		t.Helper()
		if err != nil || !slices.Equal(entry.GetPins(), want) {
			t.Fatalf("pins %v, %v; want %v", entry.GetPins(), err, want)
		}
	}
	for _, step := range []struct {
		do   func(text string) (*pb.AdapterEntry, error)
		text string
		want []string
	}{
		{pin(t, reg), "a@prod", []string{"prod"}}, {pin(t, reg), "a@prod", []string{"prod"}}, {pin(t, reg), "a", []string{"latest", "prod"}},
		{pin(t, reg), "a@" + digest, []string{"2", "latest", "prod"}}, {unpin(t, reg), "a", []string{"2", "prod"}}, {unpin(t, reg), "a@1", []string{"2", "prod"}},
	} {
		entry, err := step.do(step.text)
		pinned(entry, err, step.want...)
	}
	entry, err := reg.Entry(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	all, err := registry.PinnedOf(entry)
	if err != nil || len(all) != 2 || all[0].Pinned() != "a@2" || all[1].Pinned() != "a@1" {
		t.Errorf("the pins stand for %v, %v", all, err)
	}
	for text, want := range map[string]string{"b": `there is no adapter "b"`, "a@3": "has no version 3", "a@nobody": `has no alias "nobody"`} {
		for name, do := range map[string]func(string) (*pb.AdapterEntry, error){"pin": pin(t, reg), "unpin": unpin(t, reg)} {
			if _, err := do(text); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %s: %v, want %q", name, text, err, want)
			}
		}
	}
	entry, err = reg.Delete(ctx, "a@2", time.Unix(1000, 0))
	pinned(entry, err, "prod")
	entry, err = reg.Delete(ctx, "a", time.Unix(1000, 0))
	pinned(entry, err)
}

func pin(t *testing.T, reg *registry.Registry) func(string) (*pb.AdapterEntry, error) {
	t.Helper()
	return func(text string) (*pb.AdapterEntry, error) { return reg.Pin(t.Context(), text) }
}

func unpin(t *testing.T, reg *registry.Registry) func(string) (*pb.AdapterEntry, error) {
	t.Helper()
	return func(text string) (*pb.AdapterEntry, error) { return reg.Unpin(t.Context(), text) }
}
