package registry

import (
	"fmt"
	"strconv"
	"strings"

	"descant/pkg/job"
	"descant/pkg/pb"
)

// Latest is the alias that every publication moves to the new version.
const Latest = "latest"

// Reference is a parsed adapter reference: a name and at most one way to choose its version.
type Reference struct {
	Name    string
	Version uint32 // of name@3
	Digest  string // of name@sha256:<hex>
	Alias   string // of name@prod, and latest where nothing is chosen
}

// ParseReference reads name, name@3, name@sha256:<hex> or name@alias.
func ParseReference(text string) (Reference, error) {
	name, choice, chosen := strings.Cut(text, "@")
	if p := job.NameProblem("model", name); p != nil {
		return Reference{}, userProblem(job.CodeNotFound, fmt.Sprintf("adapter reference %q cannot be read", text), *p)
	}
	ref := Reference{Name: name}
	switch {
	case !chosen:
		ref.Alias = Latest
	case strings.HasPrefix(choice, "sha256:"):
		ref.Digest = choice
	case isNumber(choice):
		version, err := strconv.ParseUint(choice, 10, 32)
		if err != nil || version == 0 {
			return Reference{}, job.UserError(job.CodeNotFound, fmt.Sprintf("adapter reference %q has no usable version number", text), "versions count from 1: `descant adapters show "+name+"` lists them")
		}
		ref.Version = uint32(version)
	case job.ValidName(choice):
		ref.Alias = choice
	default:
		return Reference{}, job.UserError(job.CodeNotFound, fmt.Sprintf("adapter reference %q cannot be read", text), "use name, name@3, name@alias or name@sha256:<hex>")
	}
	return ref, nil
}

// String writes the reference as it is typed.
func (r Reference) String() string {
	switch {
	case r.Digest != "":
		return r.Name + "@" + r.Digest
	case r.Version > 0:
		return Pinned(r.Name, r.Version)
	case r.Alias == Latest || r.Alias == "":
		return r.Name
	}
	return r.Name + "@" + r.Alias
}

// missing is the error of a version or alias that an entry does not have.
func (r Reference) missing(format string, args ...any) *job.Error {
	return job.UserError(job.CodeNotFound, "adapter "+r.Name+" has no "+fmt.Sprintf(format, args...), "`descant adapters show "+r.Name+"` lists its versions and aliases")
}

// find returns the version of an entry that the reference stands for.
func (r Reference) find(entry *pb.AdapterEntry) (*pb.AdapterVersion, error) {
	number := r.Version
	switch {
	case r.Digest != "":
		for _, v := range entry.GetVersions() {
			if v.GetDigest() == r.Digest && v.GetDeletedAt() == nil {
				return v, nil
			}
		}
		return nil, r.missing("version with digest %s", r.Digest)
	case r.Alias != "":
		number = entry.GetAliases()[r.Alias]
		if number == 0 {
			return nil, r.missing("alias %q", r.Alias)
		}
	}
	if number == 0 || int(number) > len(entry.GetVersions()) {
		return nil, r.missing("version %d, the newest is %d", number, len(entry.GetVersions()))
	}
	version := entry.GetVersions()[number-1]
	if version.GetDeletedAt() != nil {
		return nil, job.UserError(job.CodeNotFound, fmt.Sprintf("version %d of adapter %s was deleted", number, r.Name), "`descant adapters list` shows what is published")
	}
	return version, nil
}

// Find returns the version of an entry that a reference to its name stands for.
func Find(entry *pb.AdapterEntry, text string) (Resolved, error) {
	ref, err := ParseReference(text)
	if err != nil {
		return Resolved{}, err
	}
	version, err := ref.find(entry)
	return Resolved{Name: entry.GetName(), Version: version}, err
}

// Pinned writes the reference that never changes: name@3.
func Pinned(name string, version uint32) string {
	return name + "@" + strconv.FormatUint(uint64(version), 10)
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func userProblem(code job.Code, message string, p job.Problem) *job.Error {
	return job.UserError(code, message, "", p)
}
