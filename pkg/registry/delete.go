package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"descant/pkg/job"
	"descant/pkg/pb"
)

// Delete takes a version away, or all versions for a name alone, and returns the new entry. Aliases that stood for it go
// with it; latest goes back to the newest that is left. Numbers are not given again, so that name@3 names what it always
// named, or nothing. The files stay where they are, by their digests.
func (r *Registry) Delete(ctx context.Context, text string, now time.Time) (*pb.AdapterEntry, error) {
	ref, err := ParseReference(text)
	if err != nil {
		return nil, err
	}
	all := !strings.Contains(text, "@")
	if !all && ref.Alias != "" {
		return nil, job.UserError(job.CodeBadRequest, text+" is an alias, which may stand for another version in a moment", "name the version: "+ref.Name+"@1, or "+ref.Name+" for all of them")
	}
	if _, err := r.Entry(ctx, ref.Name); err != nil {
		return nil, err
	}
	return r.change(ctx, ref.Name, func(entry *pb.AdapterEntry) error {
		var gone []*pb.AdapterVersion
		if all {
			gone = live(entry)
		} else if version, err := ref.find(entry); err != nil {
			return err
		} else {
			gone = append(gone, version)
		}
		if len(gone) == 0 {
			return job.UserError(job.CodeNotFound, fmt.Sprintf("adapter %s was deleted", ref.Name), "`descant adapters list` shows what is published")
		}
		for _, version := range gone {
			version.DeletedAt = timestamppb.New(now)
		}
		forget(entry)
		return nil
	})
}

// live returns the versions of an entry that were not deleted.
func live(entry *pb.AdapterEntry) []*pb.AdapterVersion {
	return slices.DeleteFunc(slices.Clone(entry.GetVersions()), func(v *pb.AdapterVersion) bool { return v.GetDeletedAt() != nil })
}

// forget takes deleted versions out of the aliases, their splits, their history and the pins.
func forget(entry *pb.AdapterEntry) {
	deleted := func(version uint32) bool {
		return version > 0 && int(version) <= len(entry.GetVersions()) && entry.Versions[version-1].GetDeletedAt() != nil
	}
	maps.DeleteFunc(entry.Aliases, func(_ string, version uint32) bool { return deleted(version) })
	if left := live(entry); len(left) > 0 {
		entry.Aliases[Latest] = left[len(left)-1].GetVersion()
	}
	entry.Pins = slices.DeleteFunc(entry.Pins, func(pin string) bool {
		number, err := strconv.ParseUint(pin, 10, 32)
		return err == nil && deleted(uint32(number)) || err != nil && entry.Aliases[pin] == 0
	})
	maps.DeleteFunc(entry.Canaries, func(alias string, c *pb.Canary) bool { return deleted(c.GetVersion()) || entry.Aliases[alias] == 0 })
	for _, past := range entry.History {
		past.Versions = slices.DeleteFunc(past.GetVersions(), deleted)
	}
	maps.DeleteFunc(entry.History, func(alias string, past *pb.AliasHistory) bool {
		return len(past.GetVersions()) == 0 || entry.Aliases[alias] == 0
	})
}
