package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"descant/pkg/bus"
	"descant/pkg/hub"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// adapterSource is an adapter that a command line names, on this machine with its base.
type adapterSource struct {
	name     string // as people know it: name@version, or the folder
	dir      string
	manifest *pb.AdapterManifest // nil for a folder that has none
	baseName string
	base     *hub.Snapshot
}

// adapterAt finds the adapter behind a folder or a reference of the registry, and its base: the one that is asked
// for, else the one that the adapter names. An adapter that was made on other bytes than the base's is refused.
// Files of a published adapter are brought below work.
func (a *app) adapterAt(ctx context.Context, ref, baseRef, work string) (*adapterSource, error) {
	if stat, err := os.Stat(ref); err == nil && stat.IsDir() {
		dir, named, err := adapterFolder(ref)
		if err != nil {
			return nil, err
		}
		source := &adapterSource{name: ref, dir: dir}
		if source.manifest, err = folderManifest(dir); err != nil {
			return nil, err
		}
		baseRef = firstOf(baseRef, source.manifest.GetBase(), named)
		if baseRef == "" {
			return nil, fmt.Errorf("%s does not name its base: give it with --model", ref)
		}
		if source.baseName, source.base, err = a.base(ctx, baseRef); err != nil {
			return nil, err
		}
		return source, source.checkBase()
	}
	if filepath.IsAbs(ref) || ref != filepath.Base(ref) {
		return nil, fmt.Errorf("there is no folder %s; give an adapter's folder, or a published adapter as name or name@version", ref)
	}
	var source *adapterSource
	err := a.withSystem(ctx, func(ctx context.Context, s *system) (err error) {
		source, err = a.publishedAt(ctx, s, ref, baseRef, work)
		return err
	})
	return source, err
}

// publishedAt is adapterAt for a published adapter.
func (a *app) publishedAt(ctx context.Context, s *system, ref, baseRef, work string) (*adapterSource, error) {
	found, err := s.registry.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	source := &adapterSource{name: found.Pinned()}
	if source.dir, err = s.registry.Fetch(ctx, found.Version, work); err != nil {
		return nil, err
	}
	if source.manifest, err = s.registry.Manifest(ctx, found.Version); err != nil {
		return nil, err
	}
	if _, _, err := adapterFolder(source.dir); err != nil {
		return nil, fmt.Errorf("%s is no LoRA adapter: %w", source.name, err)
	}
	source.baseName = firstOf(baseRef, source.manifest.GetBase())
	opts := s.hub
	opts.LocalDirs = []string{"/"}
	if source.base, err = a.fetchModel(ctx, source.baseName, opts); err != nil {
		return nil, err
	}
	return source, source.checkBase()
}

// checkBase compares the base with the one that the manifest pins.
func (s *adapterSource) checkBase() error {
	want := s.manifest.GetBaseDigest()
	if want == "" || want == s.base.Digest {
		return nil
	}
	return job.UserError(job.CodeBadModel, fmt.Sprintf("adapter %s was made on a base with digest %s, %s has digest %s", s.name, want, s.baseName, s.base.Digest),
		"name the base that it was made on with --model, for example org/name@revision")
}

// folderManifest reads the manifest that lies beside an adapter which came from the registry, or nil.
func folderManifest(dir string) (*pb.AdapterManifest, error) {
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	manifest := new(pb.AdapterManifest)
	if err := bus.FromJSON(data, manifest); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, "manifest.json"), err)
	}
	return manifest, nil
}
