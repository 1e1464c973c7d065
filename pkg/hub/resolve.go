package hub

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Snapshot is one exact state of a base model on this machine.
type Snapshot struct {
	Dir      string // folder with the files
	Name     string // the model without its revision, as asked for
	Revision string // commit on the hub; empty for other sources
	// Digest is "sha256:" and the hash over names, sizes and hashes of the files (see digestOf); equal
	// files have equal digests, wherever they came from.
	Digest string
	Files  []File // sorted by name
	// Note is something the user should know, for example that the hub did not answer and the cache was used.
	Note string
}

// File is one file of a snapshot.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes
	SHA256 string `json:"sha256"` // hexadecimal
}

var (
	repoPattern     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$`)
	revisionPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$`)
	commitPattern   = regexp.MustCompile(`^[0-9a-f]{40}$`)
	digestPattern   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// Resolve brings the model behind a name (see the package comment) onto this machine, checks that all its
// files are there, and returns its snapshot. Errors are of type *Error.
func Resolve(ctx context.Context, ref string, opts Options) (*Snapshot, error) {
	if opts.Client == nil {
		opts.Client = defaultClient()
	}
	switch {
	case ref == "":
		return nil, &Error{Kind: ErrInvalid, Model: `""`, What: "no model is named", Next: "Name one, for example Qwen/Qwen2.5-0.5B-Instruct"}
	case strings.HasPrefix(ref, "builtin:"):
		return resolveBuiltin(ref, opts)
	case digestPattern.MatchString(ref):
		return resolveDigest(ctx, ref, opts)
	case strings.HasPrefix(ref, "s3://"):
		return resolvePrefix(ctx, ref, opts)
	case looksLocal(ref):
		return resolveLocal(ref, opts)
	}
	repo, revision, _ := strings.Cut(ref, "@")
	if revision == "" {
		revision = "main"
		if opts.ModelScope {
			revision = "master"
		}
	}
	if !repoPattern.MatchString(repo) || !revisionPattern.MatchString(revision) || strings.Contains(ref, "..") {
		return nil, &Error{Kind: ErrInvalid, Model: ref, What: "this is neither a folder that exists nor the name of a repository",
			Next: "Give a folder, org/name, org/name@revision, sha256:…, s3://bucket/folder or builtin:tiny"}
	}
	return resolveRemote(ctx, repo, revision, opts)
}

// looksLocal tells paths from names of repositories: as in transformers, a folder that exists wins.
func looksLocal(ref string) bool {
	if filepath.IsAbs(ref) || strings.HasPrefix(ref, "./") || strings.HasPrefix(ref, "../") || ref == "." || ref == ".." || strings.HasPrefix(ref, "~/") {
		return true
	}
	st, err := os.Stat(filepath.Join(ref, "config.json"))
	return err == nil && st.Mode().IsRegular()
}

func resolveLocal(ref string, opts Options) (*Snapshot, error) {
	path := ref
	if rest, ok := strings.CutPrefix(ref, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, &Error{Kind: ErrInvalid, Model: ref, What: "there is no home folder", Err: err}
		}
		path = filepath.Join(home, rest)
	}
	dir, err := filepath.Abs(path)
	if err != nil {
		return nil, &Error{Kind: ErrInvalid, Model: ref, What: "not a usable path", Err: err}
	}
	// Links are followed before the comparison, or a link inside an allowed folder would lead out of it.
	real, err := filepath.EvalSymlinks(dir)
	allowed := false
	for _, root := range opts.LocalDirs {
		if r, rootErr := filepath.EvalSymlinks(root); rootErr == nil {
			root = r
		}
		inside := func(p string) bool {
			rel, relErr := filepath.Rel(root, p)
			return relErr == nil && rel != ".." && !strings.HasPrefix(rel, "../")
		}
		allowed = allowed || inside(dir) && err != nil || err == nil && inside(real)
	}
	if !allowed {
		return nil, &Error{Kind: ErrInvalid, Model: ref, What: "local folders are not open to requests here",
			Next: "Ask the operator to add the folder to hub.local_dirs, or name a repository of the hub"}
	}
	if err != nil {
		return nil, &Error{Kind: ErrNotFound, Model: ref, What: "there is no such folder", Next: "Check the path"}
	}
	return snapshotOf(ref, "", dir, opts)
}
