package registry

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"descant/pkg/job"
	"descant/pkg/pb"
)

// Prod is the alias that is promoted and rolled back where none is named.
const Prod = "prod"

// Whole is the share of an alias's users that is all of them, in hundredths of a percent.
const Whole = 10_000

// maxHistory bounds how far back an alias can be rolled.
const maxHistory = 32

// SetAlias points an alias at a version and returns the new entry. latest belongs to Publish and is
// refused.
func (r *Registry) SetAlias(ctx context.Context, name, alias string, version uint32) (*pb.AdapterEntry, error) {
	return r.promote(ctx, Reference{Name: name, Version: version}, alias, Whole)
}

// Promote lets an alias stand for the version that a reference names. With a share below [Whole] the
// alias stays and that part of its users gets the version (see [Registry.ResolveFor]); a split that is
// under way is replaced. The same call again changes nothing.
func (r *Registry) Promote(ctx context.Context, text, alias string, share uint32) (*pb.AdapterEntry, error) {
	ref, err := ParseReference(text)
	if err != nil {
		return nil, err
	}
	return r.promote(ctx, ref, alias, share)
}

func (r *Registry) promote(ctx context.Context, ref Reference, alias string, share uint32) (*pb.AdapterEntry, error) {
	if err := checkAlias(ref.Name, alias); err != nil {
		return nil, err
	}
	if share < 1 || share > Whole {
		return nil, job.UserError(job.CodeBadRequest, fmt.Sprintf("weight %g%% of alias %s cannot be used", float64(share)/100, alias), "give more than 0% and at most 100%, to two decimals")
	}
	return r.change(ctx, ref.Name, func(entry *pb.AdapterEntry) error {
		version, err := ref.find(entry)
		if err != nil {
			return err
		}
		stable := entry.GetAliases()[alias]
		switch {
		case share == Whole:
			moveAlias(entry, alias, version.GetVersion())
		case stable == 0:
			return job.UserError(job.CodeBadRequest, fmt.Sprintf("alias %s of adapter %s stands for nothing yet, so its users cannot be split", alias, ref.Name), "promote a version without a weight first")
		case stable == version.GetVersion():
			return job.UserError(job.CodeBadRequest, fmt.Sprintf("alias %s of adapter %s stands for version %d already", alias, ref.Name, stable), "promote another version with a weight, or end a split with `descant adapters rollback "+ref.Name+"`")
		default:
			if entry.Canaries == nil {
				entry.Canaries = map[string]*pb.Canary{}
			}
			entry.Canaries[alias] = &pb.Canary{Version: version.GetVersion(), Share: share}
		}
		return nil
	})
}

// moveAlias points an alias at a version, ends its split and remembers what it stood for.
func moveAlias(entry *pb.AdapterEntry, alias string, version uint32) {
	delete(entry.Canaries, alias)
	before := entry.Aliases[alias]
	entry.Aliases[alias] = version
	if before == 0 || before == version {
		return
	}
	if entry.History == nil {
		entry.History = map[string]*pb.AliasHistory{}
	}
	past := append(entry.History[alias].GetVersions(), before)
	entry.History[alias] = &pb.AliasHistory{Versions: past[max(0, len(past)-maxHistory):]}
}

// Rollback ends the split of an alias; without one, the alias stands again for what it stood for
// before its last move.
func (r *Registry) Rollback(ctx context.Context, name, alias string) (*pb.AdapterEntry, error) {
	if err := checkAlias(name, alias); err != nil {
		return nil, err
	}
	// The first edit that meets the entry decides; a lost race reads the entry anew.
	return r.change(ctx, name, func(entry *pb.AdapterEntry) error {
		if len(entry.GetVersions()) == 0 {
			return r.unknown(ctx, name)
		}
		if entry.GetCanaries()[alias] != nil {
			delete(entry.Canaries, alias)
			return nil
		}
		past := entry.GetHistory()[alias].GetVersions()
		if len(past) == 0 {
			return job.UserError(job.CodeBadRequest, fmt.Sprintf("alias %s of adapter %s has stood for nothing else before", alias, name), "`descant adapters promote "+name+"@VERSION --alias "+alias+"` moves it")
		}
		entry.Aliases[alias] = past[len(past)-1]
		entry.History[alias].Versions = past[:len(past)-1]
		return nil
	})
}

func checkAlias(name, alias string) error {
	if p := job.NameProblem("alias", alias); p != nil {
		return userProblem(job.CodeBadRequest, fmt.Sprintf("alias of adapter %s cannot be set", name), *p)
	}
	if alias == Latest || isNumber(alias) {
		return job.UserError(job.CodeBadRequest, fmt.Sprintf("alias %q of adapter %s cannot be set", alias, name), "latest always is the newest version and numbers are versions: choose another word, such as prod")
	}
	return nil
}

// ResolveFor is [Registry.Resolve] for one request: where an alias is split between two versions, the
// user decides, the same one always the same way and still so when the share grows. A request without
// a user is drawn at random.
func (r *Registry) ResolveFor(ctx context.Context, text, user string) (Resolved, error) {
	ref, err := ParseReference(text)
	if err != nil {
		return Resolved{}, err
	}
	entry, err := r.Entry(ctx, ref.Name)
	if err != nil {
		return Resolved{}, err
	}
	return ref.choose(entry, user)
}

// choose is find for one request of a user.
func (r Reference) choose(entry *pb.AdapterEntry, user string) (Resolved, error) {
	if split := entry.GetCanaries()[r.Alias]; r.Alias != "" && split != nil && draw(r.Name, r.Alias, user) < split.GetShare() {
		r = Reference{Name: r.Name, Version: split.GetVersion()}
	}
	version, err := r.find(entry)
	return Resolved{Name: r.Name, Version: version}, err
}

// draw places a user on the scale from 0 to [Whole]; each alias has a scale of its own, so that not the
// same people try everything first.
func draw(name, alias, user string) uint32 {
	if user == "" {
		return rand.Uint32N(Whole)
	}
	sum := sha256.Sum256([]byte(name + "\x00" + alias + "\x00" + user))
	return uint32(binary.BigEndian.Uint64(sum[:8]) % Whole)
}
