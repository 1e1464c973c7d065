package registry_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/embedded/servertest"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// open starts real servers and returns a registry over them.
func open(t *testing.T) (*registry.Registry, *blob.Store) {
	t.Helper()
	minio, nats := servertest.StartMinIO(t), servertest.StartNATS(t)
	store := blob.Defaults()
	store.Endpoint, store.AccessKey, store.SecretKey = minio.Endpoint, minio.AccessKey, lifecycle.NewSecret(minio.SecretKey)
	objects, err := blob.Open(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	wire := bus.Defaults()
	wire.URL = nats.URL
	b, err := bus.Connect(t.Context(), wire, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return registry.New(objects, b.Registry()), objects
}

func adapterFolder(t *testing.T, weights string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"adapter_config.json": "{}", "adapter_model.safetensors": weights, ".hidden": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	reg, objects := open(t)
	publish := func(name, id, weights string) registry.Resolved {
		t.Helper()
		got, err := reg.Publish(ctx, adapterFolder(t, weights), &pb.AdapterManifest{Name: name, Job: id, Base: "m", BaseDigest: "sha256:b"})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}

	var mu sync.Mutex
	seen := map[string]int{}
	changed := make(chan struct{}, 100)
	watching, stop := context.WithCancel(ctx)
	listed := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		reg.Watch(watching, time.Hour, func(e *pb.AdapterEntry) {
			mu.Lock()
			seen[e.GetName()] = len(e.GetVersions())
			mu.Unlock()
			changed <- struct{}{}
		}, func() { close(listed) })
	})
	defer wg.Wait()
	defer stop()
	<-listed

	first := publish("my.adapter.", "ft-1", "one")
	if first.Pinned() != "my.adapter.@1" {
		t.Errorf("first publication is %s", first.Pinned())
	}
	if again := publish("my.adapter.", "ft-1", "other bytes"); again.Version.GetDigest() != first.Version.GetDigest() {
		t.Errorf("the same job published twice: %v and %v", first.Version, again.Version)
	}
	second := publish("my.adapter.", "ft-2", "two")

	t.Run("resolve", func(t *testing.T) {
		if _, err := reg.SetAlias(ctx, "my.adapter.", "prod", 1); err != nil {
			t.Fatal(err)
		}
		for ref, want := range map[string]uint32{
			"my.adapter.": 2, "my.adapter.@latest": 2, "my.adapter.@1": 1, "my.adapter.@2": 2, "my.adapter.@prod": 1,
			"my.adapter.@" + second.Version.GetDigest(): 2,
		} {
			got, err := reg.Resolve(ctx, ref)
			if err != nil || got.Version.GetVersion() != want {
				t.Errorf("%s resolves to %v, %v; want version %d", ref, got.Version, err, want)
			}
		}
		for ref, want := range map[string]string{
			"my.adaptr.":          `did you mean "my.adapter."?`,
			"my.adapter.@9":       "has no version 9, the newest is 2",
			"my.adapter.@0":       "no usable version number",
			"my.adapter.@beta":    `has no alias "beta"`,
			"my.adapter.@sha256:": "has no version with digest",
			"My Adapter":          "not a valid name",
		} {
			_, err := reg.Resolve(ctx, ref)
			var classed *job.Error
			if !errors.As(err, &classed) || classed.Class != job.User || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want a user error with %q", ref, err, want)
			}
		}
	})

	t.Run("aliases that are refused", func(t *testing.T) {
		for _, alias := range []string{"latest", "3", "Ä"} {
			if _, err := reg.SetAlias(ctx, "my.adapter.", alias, 1); err == nil {
				t.Errorf("alias %q was set", alias)
			}
		}
		if _, err := reg.SetAlias(ctx, "my.adapter.", "prod", 7); err == nil {
			t.Error("an alias points to a version that is not there")
		}
	})

	t.Run("fetch", func(t *testing.T) {
		dir, err := reg.Fetch(ctx, second.Version, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "adapter_model.safetensors")); string(got) != "two" {
			t.Errorf("weights = %q, %v", got, err)
		}
		if got, _ := os.ReadFile(filepath.Join(dir, "manifest.json")); blob.Digest(got) != second.Version.GetDigest() {
			t.Error("the manifest is not the one of the digest")
		}
		key, _ := blob.ContentKey(blob.Digest([]byte("one")))
		if err := objects.Put(ctx, key, strings.NewReader("bad"), 3); err != nil {
			t.Fatal(err)
		}
		root := t.TempDir()
		if _, err := reg.Fetch(ctx, first.Version, root); !errors.Is(err, blob.ErrDigest) {
			t.Errorf("altered weights were fetched: %v", err)
		}
		if left, _ := os.ReadDir(root); len(left) > 0 {
			t.Errorf("a failed fetch left %v", left)
		}
	})

	t.Run("publishing at once keeps every version", func(t *testing.T) {
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() { publish("busy", "ft-busy-"+string(rune('a'+i)), "w") })
		}
		wg.Wait()
		entry, err := reg.Entry(ctx, "busy")
		if err != nil || len(entry.GetVersions()) != 5 || entry.GetAliases()[registry.Latest] != 5 {
			t.Errorf("entry = %v, %v", entry, err)
		}
	})

	t.Run("watch", func(t *testing.T) {
		for {
			mu.Lock()
			done := seen["my.adapter."] == 2 && seen["busy"] == 5
			mu.Unlock()
			if done {
				return
			}
			select {
			case <-changed:
			case <-time.After(10 * time.Second):
				t.Fatalf("seen %v", seen)
			}
		}
	})

	t.Run("datasets", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "rows.jsonl")
		if err := os.WriteFile(path, []byte("{}\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		pushed, err := reg.PushDataset(ctx, "my-rows", path, "rows.jsonl", 1, now)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := reg.Dataset(ctx, "my-rows"); err != nil || got != pushed {
			t.Errorf("dataset = %v, %v; want %v", got, err, pushed)
		}
		if all, err := reg.Datasets(ctx); err != nil || len(all) != 1 || all[0] != pushed {
			t.Errorf("datasets = %v, %v", all, err)
		}
		if _, err := reg.Dataset(ctx, "my-row"); err == nil || !strings.Contains(err.Error(), `did you mean "my-rows"?`) {
			t.Errorf("unknown dataset: %v", err)
		}
	})
}
