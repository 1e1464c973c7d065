package registry

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"descant/pkg/job"
	"descant/pkg/pb"
)

// Load gives a published version another name: a manifest of its own that lists the same files. A name that was loaded
// before is refused unless replace is set, which makes this its next version; one that was published itself always is.
func (r *Registry) Load(ctx context.Context, name, text string, replace bool, now time.Time) (Resolved, error) {
	if p := job.NameProblem("name", name); p != nil {
		return Resolved{}, userProblem(job.CodeBadRequest, "adapter cannot be loaded", *p)
	}
	found, err := r.Resolve(ctx, text)
	if err != nil {
		return Resolved{}, err
	}
	there, own, err := r.loaded(ctx, name)
	switch {
	case err != nil && job.AsError("look up "+name, err).Code != job.CodeNotFound:
		return Resolved{}, err
	case own != 0:
		return Resolved{}, job.UserError(job.CodeConflict, fmt.Sprintf("adapter %s has been published under this name, where version %d answers", name, own), "choose another name, or ask it as it is")
	case there && !replace:
		return Resolved{}, job.UserError(job.CodeConflict, fmt.Sprintf("adapter %s has already been loaded", name), "unload it first, or replace it")
	}
	manifest, err := r.Manifest(ctx, found.Version)
	if err != nil {
		return Resolved{}, err
	}
	manifest = proto.CloneOf(manifest)
	manifest.Name, manifest.LoadedFrom = name, Reference{Name: found.Name, Digest: found.Version.GetDigest()}.String()
	// Loaded again it is another version: what was unloaded stays so.
	manifest.CreatedAt = timestamppb.New(now)
	return r.addVersion(ctx, manifest, "", found.Version.GetSize())
}

// Unload takes a name away that Load has given. One that was published itself is refused.
func (r *Registry) Unload(ctx context.Context, name string, now time.Time) (*pb.AdapterEntry, error) {
	if p := job.NameProblem("name", name); p != nil {
		return nil, userProblem(job.CodeNotFound, "there is no such adapter", *p)
	}
	there, own, err := r.loaded(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case own != 0:
		return nil, job.UserError(job.CodeConflict, fmt.Sprintf("adapter %s has been published, not loaded: version %d is its own", name, own), "DELETE /v1/models/"+name+", or adapters.delete over NATS, takes it away for good")
	case !there:
		return nil, job.UserError(job.CodeNotFound, fmt.Sprintf("adapter %s was unloaded", name), "`descant adapters list` shows what is published")
	}
	return r.Delete(ctx, name, now)
}

// loaded tells whether a name has versions, and which one of them was published itself; 0 if none was.
func (r *Registry) loaded(ctx context.Context, name string) (there bool, own uint32, err error) {
	entry, err := r.Entry(ctx, name)
	if err != nil {
		return false, 0, err
	}
	for _, version := range live(entry) {
		manifest, err := r.Manifest(ctx, version)
		if err != nil {
			return false, 0, err
		}
		if there = true; manifest.GetLoadedFrom() == "" {
			own = version.GetVersion()
		}
	}
	return there, own, nil
}
