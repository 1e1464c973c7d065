package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"descant/pkg/job"
	"descant/pkg/pb"
)

// maxPins bounds what may be pinned of one name.
const maxPins = 32

// Pin has what a reference stands for stay in the slots of all workers, and returns the new entry: an alias is followed, a
// name alone is its newest version. The same call again changes nothing.
func (r *Registry) Pin(ctx context.Context, text string) (*pb.AdapterEntry, error) {
	return r.repin(ctx, text, func(entry *pb.AdapterEntry, pin string) error {
		switch {
		case slices.Contains(entry.GetPins(), pin):
		case len(entry.GetPins()) >= maxPins:
			return job.UserError(job.CodeBadRequest, fmt.Sprintf("%d versions and aliases of adapter %s are pinned", maxPins, entry.GetName()), "unpin one first")
		default:
			entry.Pins = append(entry.Pins, pin)
			slices.Sort(entry.Pins)
		}
		return nil
	})
}

// Unpin leaves what a reference stands for to its use again, and returns the new entry. The same call again changes nothing.
func (r *Registry) Unpin(ctx context.Context, text string) (*pb.AdapterEntry, error) {
	return r.repin(ctx, text, func(entry *pb.AdapterEntry, pin string) error {
		entry.Pins = slices.DeleteFunc(entry.Pins, func(there string) bool { return there == pin })
		return nil
	})
}

// repin edits the pins of the entry to which a reference belongs.
func (r *Registry) repin(ctx context.Context, text string, edit func(entry *pb.AdapterEntry, pin string) error) (*pb.AdapterEntry, error) {
	ref, err := ParseReference(text)
	if err != nil {
		return nil, err
	}
	if _, err := r.Entry(ctx, ref.Name); err != nil {
		return nil, err
	}
	return r.change(ctx, ref.Name, func(entry *pb.AdapterEntry) error {
		version, err := ref.find(entry)
		if err != nil {
			return err
		}
		pin := ref.Alias
		if pin == "" {
			pin = strconv.FormatUint(uint64(version.GetVersion()), 10)
		}
		return edit(entry, pin)
	})
}

// PinnedOf lists what the pins of an entry stand for now.
func PinnedOf(entry *pb.AdapterEntry) (all []Resolved, err error) {
	for _, pin := range entry.GetPins() {
		found, failed := Find(entry, entry.GetName()+"@"+pin)
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		all = append(all, found)
	}
	return all, err
}
