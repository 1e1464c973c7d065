package registry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"descant/pkg/blob"
	"descant/pkg/bus"
	"descant/pkg/job"
	"descant/pkg/pb"
)

// Bucket holds the small commits; bus.Bucket is one. Its errors are those of package bus.
type Bucket interface {
	Get(ctx context.Context, key string) (bus.Entry, error)
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	List(ctx context.Context, pattern string) ([]bus.Entry, error)
	Watch(ctx context.Context, pattern string) iter.Seq2[bus.Entry, error]
}

// Registry publishes and finds adapters. It is safe for concurrent use.
type Registry struct {
	objects *blob.Store
	entries Bucket
}

// New returns a registry over an object store and the bucket of entries.
func New(objects *blob.Store, entries Bucket) *Registry {
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
	return Find(entry, text)
}

// Entry returns every version and alias of a name; an unknown name is a user error with code
// not_found.
func (r *Registry) Entry(ctx context.Context, name string) (*pb.AdapterEntry, error) {
	entry, _, err := r.read(ctx, name)
	if errors.Is(err, bus.ErrNotFound) {
		return nil, r.unknown(ctx, name)
	}
	return entry, err
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
	stored, err := r.entries.List(ctx, ">")
	if err != nil {
		return nil, job.InfrastructureError(job.CodeBus, "list adapters", err)
	}
	var all []*pb.AdapterEntry
	for _, one := range stored {
		entry, err := decode(one)
		if err != nil {
			return nil, err
		}
		all = append(all, entry)
	}
	slices.SortFunc(all, func(a, b *pb.AdapterEntry) int { return strings.Compare(a.GetName(), b.GetName()) })
	return all, nil
}

// change applies edit to the entry of a name by compare-and-set, again after every lost race. An
// edit that leaves the entry as it was writes nothing.
func (r *Registry) change(ctx context.Context, name string, edit func(*pb.AdapterEntry) error) (*pb.AdapterEntry, error) {
	for {
		entry, revision, err := r.read(ctx, name)
		if errors.Is(err, bus.ErrNotFound) {
			entry, revision = &pb.AdapterEntry{Name: name}, 0
		} else if err != nil {
			return nil, err
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
		err = r.write(ctx, changed, revision)
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

// read returns the entry of a name and its revision, or bus.ErrNotFound as it is.
func (r *Registry) read(ctx context.Context, name string) (*pb.AdapterEntry, uint64, error) {
	if !job.ValidName(name) {
		return nil, 0, bus.ErrNotFound
	}
	stored, err := r.entries.Get(ctx, entryKey(name))
	if errors.Is(err, bus.ErrNotFound) {
		return nil, 0, err
	}
	if err != nil {
		return nil, 0, job.InfrastructureError(job.CodeBus, "look up adapter "+name, err)
	}
	entry, err := decode(stored)
	return entry, stored.Revision, err
}

func (r *Registry) write(ctx context.Context, entry *pb.AdapterEntry, revision uint64) error {
	data, err := bus.ToJSON(entry)
	if err != nil {
		return job.BugError("write entry of adapter "+entry.GetName(), err)
	}
	if revision == 0 {
		_, err = r.entries.Create(ctx, entryKey(entry.GetName()), data)
	} else {
		_, err = r.entries.Update(ctx, entryKey(entry.GetName()), data, revision)
	}
	return err
}

// entryKey turns a name into a key of the bucket. A dot separates tokens there and may stand neither
// at the end nor beside another one, so it becomes "=", which no name has.
func entryKey(name string) string { return strings.ReplaceAll(name, ".", "=") }

func decode(stored bus.Entry) (*pb.AdapterEntry, error) {
	entry := new(pb.AdapterEntry)
	if err := bus.FromJSON(stored.Value, entry); err != nil {
		return nil, job.BugError("read registry entry "+stored.Key, err)
	}
	return entry, nil
}
