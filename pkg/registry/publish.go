package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

const (
	manifestFormat = 1
	manifestName   = "manifest.json"
	// maxManifest bounds what is read as a manifest.
	maxManifest = 8 << 20
)

// Publish stores the files of an adapter's folder, then its manifest, and then makes it visible
// under the manifest's name as the next version and as latest. The manifest comes with its lineage;
// format and files are filled in here.
//
// It may be called again after a crash: a job that has published already gets the version of then.
func (r *Registry) Publish(ctx context.Context, dir string, manifest *pb.AdapterManifest) (Resolved, error) {
	name := manifest.GetName()
	if p := job.NameProblem("name", name); p != nil {
		return Resolved{}, userProblem(job.CodeBadRequest, "adapter cannot be published", *p)
	}
	if done, ok, err := r.PublishedBy(ctx, name, manifest.GetJob()); err != nil || ok {
		return done, err
	}
	manifest = proto.CloneOf(manifest)
	manifest.Format, manifest.LoadedFrom = manifestFormat, ""
	size, err := r.storeFiles(ctx, dir, manifest)
	if err != nil {
		return Resolved{}, err
	}
	return r.addVersion(ctx, manifest, manifest.GetJob(), size)
}

// addVersion stores a manifest and makes it the next version of its name, unless the same one, or one of the job id, is
// there.
func (r *Registry) addVersion(ctx context.Context, manifest *pb.AdapterManifest, id string, size int64) (Resolved, error) {
	name := manifest.GetName()
	digest, key, err := r.storeManifest(ctx, manifest)
	if err != nil {
		return Resolved{}, err
	}
	entry, err := r.change(ctx, name, func(entry *pb.AdapterEntry) error {
		for _, v := range entry.GetVersions() {
			if sameRun(v, digest, id) {
				return nil
			}
		}
		next := uint32(len(entry.GetVersions())) + 1
		entry.Versions = append(entry.Versions, &pb.AdapterVersion{
			Version: next, Digest: digest, ManifestKey: key, Job: id, Size: size,
			Base: manifest.GetBase(), BaseDigest: manifest.GetBaseDigest(), PublishedAt: manifest.GetCreatedAt(),
		})
		entry.Aliases[Latest] = next
		return nil
	})
	if err != nil {
		return Resolved{}, err
	}
	for _, v := range entry.GetVersions() {
		if sameRun(v, digest, id) {
			return Resolved{Name: name, Version: v}, nil
		}
	}
	return Resolved{}, job.BugError("publish adapter "+name, errors.New("the entry lacks the version that was just added"))
}

func sameRun(v *pb.AdapterVersion, digest, id string) bool {
	return v.GetDeletedAt() == nil && (v.GetDigest() == digest || id != "" && v.GetJob() == id)
}

// PublishedBy finds the version of a name that a job has published before.
func (r *Registry) PublishedBy(ctx context.Context, name, id string) (Resolved, bool, error) {
	entry, _, err := r.read(ctx, name)
	if errors.Is(err, bus.ErrNotFound) {
		return Resolved{}, false, nil
	}
	if err != nil {
		return Resolved{}, false, err
	}
	for _, v := range entry.GetVersions() {
		if id != "" && v.GetJob() == id && v.GetDeletedAt() == nil {
			return Resolved{Name: name, Version: v}, true, nil
		}
	}
	return Resolved{}, false, nil
}

// storeFiles puts every file of the folder under its digest and lists them in the manifest. It
// returns the size of the weights in bytes.
func (r *Registry) storeFiles(ctx context.Context, dir string, manifest *pb.AdapterManifest) (weights int64, err error) {
	listed, err := os.ReadDir(dir) // sorted by name: the manifest's canonical order
	if err != nil {
		return 0, job.BugError("read adapter folder", err)
	}
	manifest.Files = nil
	for _, file := range listed {
		if !file.Type().IsRegular() || strings.HasPrefix(file.Name(), ".") || file.Name() == manifestName {
			continue
		}
		digest, size, err := r.objects.PutContentFile(ctx, filepath.Join(dir, file.Name()))
		if err != nil {
			return 0, storeError("store "+file.Name(), err)
		}
		manifest.Files = append(manifest.Files, &pb.File{Name: file.Name(), Digest: digest, Size: size})
		if filepath.Ext(file.Name()) == ".safetensors" {
			weights += size
		}
	}
	if weights == 0 {
		return 0, job.BugError("publish adapter "+manifest.GetName(), fmt.Errorf("folder %s holds no .safetensors file", dir))
	}
	return weights, nil
}

// storeManifest writes the canonical manifest create-only. Its key holds its digest, so an object
// that is there already is this one, left by an attempt that came no further.
func (r *Registry) storeManifest(ctx context.Context, manifest *pb.AdapterManifest) (digest, key string, err error) {
	data, err := bus.ToJSON(manifest)
	if err != nil {
		return "", "", job.BugError("write manifest", err)
	}
	digest = blob.Digest(data)
	key = "adapters/" + manifest.GetName() + "/" + strings.TrimPrefix(digest, "sha256:") + "/" + manifestName
	if err := r.objects.PutIfAbsent(ctx, key, data); err != nil && !errors.Is(err, blob.ErrExists) {
		return "", "", storeError("store manifest", err)
	}
	return digest, key, nil
}

// storeError classes an error of the object store: what it does not find or finds altered stays so,
// anything else may pass.
func storeError(doing string, err error) error {
	if errors.Is(err, blob.ErrDigest) {
		return job.BugError(doing, err)
	}
	return job.InfrastructureError(job.CodeStore, doing, err)
}
