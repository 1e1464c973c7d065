package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// Entries is the bucket of small commits. Its errors are those of package bus: ErrNotFound,
// ErrExists and ErrStale.
type Entries interface {
	// AdapterEntry returns the entry of a name and its revision.
	AdapterEntry(ctx context.Context, name string) (*pb.AdapterEntry, uint64, error)
	// PutAdapterEntry stores an entry if the bucket still holds revision; 0 means: only if there is none.
	PutAdapterEntry(ctx context.Context, entry *pb.AdapterEntry, revision uint64) (uint64, error)
	// AdapterEntries returns every entry.
	AdapterEntries(ctx context.Context) ([]*pb.AdapterEntry, error)
	// WatchAdapterEntries sends entries as they change, until ctx ends or the watch breaks; then the
	// channel is closed.
	WatchAdapterEntries(ctx context.Context) (<-chan *pb.AdapterEntry, error)
}

// Registry publishes and finds adapters. It is safe for concurrent use.
type Registry struct {
	objects *blob.Store
	entries Entries
}

// New returns a registry over an object store and the bucket of entries.
func New(objects *blob.Store, entries Entries) *Registry {
	return &Registry{objects: objects, entries: entries}
}

// Resolved is an adapter reference with its version found.
type Resolved struct {
	Name    string
	Version *pb.AdapterVersion
}

// Pinned returns name@version.
func (r Resolved) Pinned() string { return Pinned(r.Name, r.Version.GetVersion()) }

// Resolve finds the version that a reference stands for. An unknown name, alias or version is a
// user error with code not_found.
func (r *Registry) Resolve(ctx context.Context, text string) (Resolved, error) {
	ref, err := ParseReference(text)
	if err != nil {
		return Resolved{}, err
	}
	entry, err := r.Entry(ctx, ref.Name)
	if err != nil {
		return Resolved{}, err
	}
	version, err := ref.find(entry)
	if err != nil {
		return Resolved{}, err
	}
	return Resolved{Name: ref.Name, Version: version}, nil
}

// Entry returns every version and alias of a name; an unknown name is a user error with code
// not_found.
func (r *Registry) Entry(ctx context.Context, name string) (*pb.AdapterEntry, error) {
	entry, _, err := r.entries.AdapterEntry(ctx, name)
	if errors.Is(err, bus.ErrNotFound) {
		return nil, r.unknown(ctx, name)
	}
	if err != nil {
		return nil, job.InfrastructureError(job.CodeBus, "look up adapter "+name, err)
	}
	return entry, nil
}

// unknown says what there is instead of an unknown name.
func (r *Registry) unknown(ctx context.Context, name string) error {
	next := "`descant adapters list` shows what is published"
	if all, err := r.List(ctx); err == nil {
		if len(all) == 0 {
			next = "nothing is published yet; `descant finetune` makes the first adapter"
		}
		names := make([]string, len(all))
		for i, entry := range all {
			names[i] = entry.GetName()
		}
		if near := job.Nearest(name, names); near != "" {
			next = fmt.Sprintf("did you mean %q?", near)
		}
	}
	return job.UserError(job.CodeNotFound, fmt.Sprintf("there is no adapter %q", name), next)
}

// List returns every entry, by name.
func (r *Registry) List(ctx context.Context) ([]*pb.AdapterEntry, error) {
	all, err := r.entries.AdapterEntries(ctx)
	if err != nil {
		return nil, job.InfrastructureError(job.CodeBus, "list adapters", err)
	}
	slices.SortFunc(all, func(a, b *pb.AdapterEntry) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all, nil
}

// SetAlias points an alias at a version and returns the new entry. latest belongs to Publish and is
// refused.
func (r *Registry) SetAlias(ctx context.Context, name, alias string, version uint32) (*pb.AdapterEntry, error) {
	if p := job.NameProblem("alias", alias); p != nil {
		return nil, userProblem(job.CodeBadRequest, fmt.Sprintf("alias of adapter %s cannot be set", name), *p)
	}
	if alias == Latest || isNumber(alias) {
		return nil, job.UserError(job.CodeBadRequest, fmt.Sprintf("alias %q of adapter %s cannot be set", alias, name), "latest always is the newest version and numbers are versions: choose another word, such as prod")
	}
	ref := Reference{Name: name, Version: version}
	return r.change(ctx, name, func(entry *pb.AdapterEntry) error {
		if _, err := ref.find(entry); err != nil {
			return err
		}
		entry.Aliases[alias] = version
		return nil
	})
}

// change applies edit to the entry of a name by compare-and-set, again after every lost race. An
// edit that leaves the entry as it was writes nothing.
func (r *Registry) change(ctx context.Context, name string, edit func(*pb.AdapterEntry) error) (*pb.AdapterEntry, error) {
	for {
		entry, revision, err := r.entries.AdapterEntry(ctx, name)
		if errors.Is(err, bus.ErrNotFound) {
			entry, revision = &pb.AdapterEntry{Name: name}, 0
		} else if err != nil {
			return nil, job.InfrastructureError(job.CodeBus, "read entry of adapter "+name, err)
		}
		changed := proto.CloneOf(entry)
		if changed.Aliases == nil {
			changed.Aliases = map[string]uint32{}
		}
		if err := edit(changed); err != nil {
			return nil, err
		}
		if proto.Equal(changed, entry) {
			return entry, nil
		}
		_, err = r.entries.PutAdapterEntry(ctx, changed, revision)
		switch {
		case err == nil:
			return changed, nil
		case errors.Is(err, bus.ErrStale), errors.Is(err, bus.ErrExists):
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		default:
			return nil, job.InfrastructureError(job.CodeBus, "write entry of adapter "+name, err)
		}
	}
}
