package main

import (
	"context"
	"fmt"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"descant/pkg/pb"
	"descant/pkg/registry"
)

// parentName is what an adapter without a manifest is called among those of a private system.
const parentName = "init-from"

// findParent brings the adapter that --init-from names here: a folder, or one that a running system has published. The
// private system of `descant train` knows neither; until [training.publishParent] the request holds its bare name.
func (t *training) findParent(ctx context.Context) error {
	r := &t.flags.request
	if r.InitFrom == "" {
		return nil
	}
	source, err := t.app.adapterAt(ctx, r.InitFrom, r.Model, filepath.Join(t.out, privateDir, "parents"))
	if err != nil {
		return fmt.Errorf("init_from: %w", err)
	}
	t.parent, r.InitFrom = source, parentName
	return nil
}

// publishParent makes the adapter known to the private system, under the digest that it has elsewhere: the folder of a
// published adapter holds its manifest, and the same files give the same manifest again.
func (t *training) publishParent(ctx context.Context, reg *registry.Registry) error {
	if t.parent == nil {
		return nil
	}
	manifest := &pb.AdapterManifest{Name: parentName, Base: t.parent.baseName}
	if t.parent.manifest != nil {
		manifest = proto.CloneOf(t.parent.manifest)
	}
	if manifest.BaseDigest == "" {
		manifest.BaseDigest = t.parent.base.Digest
	}
	found, err := reg.Publish(ctx, t.parent.dir, manifest)
	if err != nil {
		return fmt.Errorf("init_from: %w", err)
	}
	t.flags.request.InitFrom = found.Pinned()
	return nil
}
