package registry

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// Manifest returns the manifest of a version; bytes that are not those of its digest are refused.
func (r *Registry) Manifest(ctx context.Context, version *pb.AdapterVersion) (*pb.AdapterManifest, error) {
	data, err := r.readManifest(ctx, version)
	if err != nil {
		return nil, err
	}
	return parseManifest(data, version)
}

// FetchedManifest returns the manifest of a version from the folder that [Registry.Fetch] made; it
// needs no object store.
func (r *Registry) FetchedManifest(dir string, version *pb.AdapterVersion) (*pb.AdapterManifest, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, job.InfrastructureError(job.CodeStore, "read manifest", err)
	}
	if got := blob.Digest(data); got != version.GetDigest() {
		return nil, job.BugError("read manifest in "+dir, fmt.Errorf("its digest is %s, the registry says %s", got, version.GetDigest()))
	}
	return parseManifest(data, version)
}

func parseManifest(data []byte, version *pb.AdapterVersion) (*pb.AdapterManifest, error) {
	manifest := new(pb.AdapterManifest)
	if err := bus.FromJSON(data, manifest); err != nil {
		return nil, job.BugError("read manifest "+version.GetManifestKey(), err)
	}
	if manifest.GetFormat() != manifestFormat {
		return nil, job.UserError(job.CodeNotReady, fmt.Sprintf("manifest %s has format %d, this version knows %d", version.GetManifestKey(), manifest.GetFormat(), manifestFormat), "update descant")
	}
	return manifest, nil
}

func (r *Registry) readManifest(ctx context.Context, version *pb.AdapterVersion) ([]byte, error) {
	data, err := r.objects.Read(ctx, version.GetManifestKey(), maxManifest)
	if err != nil {
		return nil, storeError("fetch manifest", err)
	}
	if got := blob.Digest(data); got != version.GetDigest() {
		return nil, job.BugError("fetch manifest "+version.GetManifestKey(), fmt.Errorf("its digest is %s, the registry says %s", got, version.GetDigest()))
	}
	return data, nil
}

// maxSmallFile bounds what [Registry.File] holds in memory, in bytes.
const maxSmallFile = 1 << 20

// File returns one small file of a version, such as its settings.
func (r *Registry) File(ctx context.Context, version *pb.AdapterVersion, name string) ([]byte, error) {
	manifest, err := r.Manifest(ctx, version)
	if err != nil {
		return nil, err
	}
	for _, file := range manifest.GetFiles() {
		if file.GetName() == name {
			data, err := r.objects.GetContent(ctx, file.GetDigest(), maxSmallFile)
			if err != nil {
				return nil, storeError("fetch "+name, err)
			}
			return data, nil
		}
	}
	return nil, job.UserError(job.CodeBadRequest, fmt.Sprintf("adapter %s has no %s", version.GetDigest(), name), "name a LoRA adapter")
}

// Fetch brings the files of a version into a folder of its own below root, each verified against its
// digest, and returns that folder. A folder that is there is complete: it appears by one rename.
func (r *Registry) Fetch(ctx context.Context, version *pb.AdapterVersion, root string) (dir string, err error) {
	dir = filepath.Join(root, strings.TrimPrefix(version.GetDigest(), "sha256:"))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	manifest, err := r.Manifest(ctx, version)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", job.InfrastructureError(job.CodeStore, "make adapter folder", err)
	}
	temporary, err := os.MkdirTemp(root, ".fetch-*")
	if err != nil {
		return "", job.InfrastructureError(job.CodeStore, "make adapter folder", err)
	}
	defer func() { _ = os.RemoveAll(temporary) }() // gone after the rename; what stays is found by the next start
	for _, file := range manifest.GetFiles() {
		if file.GetName() != filepath.Base(file.GetName()) || strings.HasPrefix(file.GetName(), ".") {
			return "", job.BugError("fetch adapter", fmt.Errorf("manifest %s names a file %q outside its folder", version.GetManifestKey(), file.GetName()))
		}
		if err := r.objects.GetContentFile(ctx, file.GetDigest(), filepath.Join(temporary, file.GetName())); err != nil {
			return "", storeError("fetch "+file.GetName(), err)
		}
	}
	data, err := r.readManifest(ctx, version)
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(temporary, manifestName), data, 0o644); err != nil {
		return "", job.InfrastructureError(job.CodeStore, "write manifest", err)
	}
	if err := os.Rename(temporary, dir); err != nil {
		if _, there := os.Stat(dir); there == nil {
			return dir, nil // another fetch of the same version was quicker
		}
		return "", job.InfrastructureError(job.CodeStore, "place adapter folder", err)
	}
	return dir, nil
}
