package hub

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// Store is what this package needs of the object store; contents lie under their sha256.
type Store interface {
	// Read returns the object under key, of at most limit bytes.
	Read(ctx context.Context, key string, limit int64) ([]byte, error)
	// PutIfAbsent writes the object under key unless the key is taken.
	PutIfAbsent(ctx context.Context, key string, data []byte) error
	// GetFile writes the object under key to path; an empty digest accepts any content.
	GetFile(ctx context.Context, key, path, digest string) error
	// GetContentFile writes the content of a digest ("sha256:<hex>") to path, verified.
	GetContentFile(ctx context.Context, digest, path string) error
	// PutContentFile stores a file under its digest and returns digest and size.
	PutContentFile(ctx context.Context, path string) (string, int64, error)
	// Versions returns a text for each key with the prefix that changes when the object changes.
	Versions(ctx context.Context, prefix string) (map[string]string, error)
	// Bucket is the name in s3:// URLs.
	Bucket() string
}

const (
	storePrefix  = "models/"
	maxManifest  = 1 << 20
	manifestKind = 1
)

// Manifest is the commit of a snapshot in the object store, under models/<hex of its digest>.json. It is
// written after all contents, once.
type Manifest struct {
	Format   int    `json:"format"`
	Digest   string `json:"digest"`
	Name     string `json:"name"`
	Revision string `json:"revision,omitempty"`
	Files    []File `json:"files"`
}

func manifestKey(digest string) string {
	return storePrefix + strings.TrimPrefix(digest, "sha256:") + ".json"
}

// Push stores a snapshot, so that Resolve finds it by its digest on every machine that sees the store.
func Push(ctx context.Context, store Store, s *Snapshot) error {
	for _, f := range s.Files {
		digest, size, err := store.PutContentFile(ctx, filepath.Join(s.Dir, f.Name))
		if err != nil {
			return fmt.Errorf("push model %s: %s: %w", s.Name, f.Name, err)
		}
		if digest != "sha256:"+f.SHA256 || size != f.Size {
			return fmt.Errorf("push model %s: %s changed while it was being read", s.Name, f.Name)
		}
	}
	data, err := json.Marshal(Manifest{Format: manifestKind, Digest: s.Digest, Name: s.Name, Revision: s.Revision, Files: s.Files})
	if err != nil {
		return fmt.Errorf("push model %s: %w", s.Name, err)
	}
	if err := store.PutIfAbsent(ctx, manifestKey(s.Digest), data); err != nil {
		if _, readErr := readManifest(ctx, store, s.Digest); readErr == nil {
			return nil // it is there already: equal digests mean equal files
		}
		return fmt.Errorf("push model %s: %w", s.Name, err)
	}
	return nil
}

// List returns the manifests of the snapshots in a store, sorted by name and digest.
func List(ctx context.Context, store Store) ([]Manifest, error) {
	keys, err := store.Versions(ctx, storePrefix)
	if err != nil {
		return nil, fmt.Errorf("list models: %w", err)
	}
	var list []Manifest
	for key := range keys {
		hexDigest, ok := strings.CutSuffix(strings.TrimPrefix(key, storePrefix), ".json")
		if !ok || !digestPattern.MatchString("sha256:"+hexDigest) {
			continue
		}
		m, err := readManifest(ctx, store, "sha256:"+hexDigest)
		if err != nil {
			return nil, fmt.Errorf("list models: %w", err)
		}
		list = append(list, *m)
	}
	sort.Slice(list, func(i, j int) bool {
		return list[i].Name < list[j].Name || list[i].Name == list[j].Name && list[i].Digest < list[j].Digest
	})
	return list, nil
}

func readManifest(ctx context.Context, store Store, digest string) (*Manifest, error) {
	data, err := store.Read(ctx, manifestKey(digest), maxManifest)
	if err != nil {
		return nil, err
	}
	var m Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", manifestKey(digest), err)
	}
	if m.Format != manifestKind || m.Digest != digest || digestOf(m.Files) != digest {
		return nil, fmt.Errorf("manifest %s does not describe %s", manifestKey(digest), digest)
	}
	for _, f := range m.Files {
		if path.Base(f.Name) != f.Name || strings.HasPrefix(f.Name, ".") {
			return nil, fmt.Errorf("manifest %s names a file %q outside its folder", manifestKey(digest), f.Name)
		}
	}
	return &m, nil
}

// resolveDigest fetches a pushed snapshot.
func resolveDigest(ctx context.Context, digest string, opts Options) (*Snapshot, error) {
	dir := filepath.Join(opts.WorkDir, "store", strings.TrimPrefix(digest, "sha256:"))
	if s, err := snapshotOf(digest, "", dir, opts); err == nil && s.Digest == digest {
		return s, nil
	}
	if opts.Store == nil {
		return nil, noStore(digest)
	}
	m, err := readManifest(ctx, opts.Store, digest)
	if err != nil {
		return nil, &Error{Kind: storeKind(ctx, opts.Store, manifestKey(digest)), Model: digest, What: "it is not in the object store", Err: err,
			Next: "Push it with `descant models pull`"}
	}
	var total, done int64
	for _, f := range m.Files {
		total += f.Size
	}
	fetch := func(into string) error {
		for _, f := range m.Files {
			if err := opts.Store.GetContentFile(ctx, "sha256:"+f.SHA256, filepath.Join(into, f.Name)); err != nil {
				return err
			}
			done += f.Size
			opts.report(Progress{Name: m.Name, File: f.Name, Done: done, Total: total})
		}
		return nil
	}
	s, err := fetchFolder(digest, opts, fetch)
	if err != nil {
		return nil, err
	}
	if s.Digest != digest {
		return nil, &Error{Kind: ErrInvalid, Model: digest, What: "the files in the store have the digest " + s.Digest}
	}
	return s, nil
}

// resolvePrefix fetches a plain folder of the store, again only when one of its objects changed.
func resolvePrefix(ctx context.Context, ref string, opts Options) (*Snapshot, error) {
	if opts.Store == nil {
		return nil, noStore(ref)
	}
	bucket, prefix, _ := strings.Cut(strings.TrimPrefix(ref, "s3://"), "/")
	prefix = strings.Trim(prefix, "/") + "/"
	if bucket != opts.Store.Bucket() || prefix == "/" {
		return nil, &Error{Kind: ErrInvalid, Model: ref, What: "it does not lie in a folder of the configured bucket " + opts.Store.Bucket(),
			Next: "Name it as s3://" + opts.Store.Bucket() + "/<folder>"}
	}
	versions, err := opts.Store.Versions(ctx, prefix)
	if err != nil {
		return nil, &Error{Kind: ErrUnavailable, Model: ref, What: "the object store does not answer", Err: err}
	}
	wanted := map[string]string{} // key → file name
	h := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(versions)) {
		name := strings.TrimPrefix(key, prefix)
		required, optional := smallFiles()
		if name == weightsIndex || shardPattern.MatchString(name) || slices.Contains(required, name) || slices.Contains(optional, name) {
			wanted[key] = name
			fmt.Fprintf(h, "%s\x00%s\x00", key, versions[key])
		}
	}
	if len(wanted) == 0 {
		return nil, &Error{Kind: ErrNotFound, Model: ref, What: "there are no model files under that prefix", Next: "Check the prefix"}
	}
	pointer := filepath.Join(opts.WorkDir, "store", "refs", hex.EncodeToString(h.Sum(nil)))
	if digest, err := os.ReadFile(pointer); err == nil && digestPattern.MatchString(string(digest)) {
		dir := filepath.Join(opts.WorkDir, "store", strings.TrimPrefix(string(digest), "sha256:"))
		if s, err := snapshotOf(ref, "", dir, opts); err == nil && s.Digest == string(digest) {
			return s, nil
		}
	}
	s, err := fetchFolder(ref, opts, func(into string) error {
		for key, name := range wanted {
			if err := opts.Store.GetFile(ctx, key, filepath.Join(into, name), ""); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := replaceFile(pointer, []byte(s.Digest)); err != nil {
		return nil, &Error{Kind: ErrInvalid, Model: ref, What: "cannot be kept", Err: err}
	}
	return s, nil
}

// fetchFolder lets fetch fill a new folder and moves it to the place that its digest names.
func fetchFolder(name string, opts Options, fetch func(into string) error) (*Snapshot, error) {
	root := filepath.Join(opts.WorkDir, "store")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, &Error{Kind: ErrInvalid, Model: name, What: "cannot be kept", Err: err}
	}
	temporary, err := os.MkdirTemp(root, ".fetch-*")
	if err != nil {
		return nil, &Error{Kind: ErrInvalid, Model: name, What: "cannot be kept", Err: err}
	}
	defer func() { _ = os.RemoveAll(temporary) }() // gone after the rename; else rubbish that harms nobody
	if err := fetch(temporary); err != nil {
		return nil, &Error{Kind: ErrUnavailable, Model: name, What: "fetching it from the object store failed", Err: err}
	}
	s, err := snapshotOf(name, "", temporary, opts)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(root, strings.TrimPrefix(s.Digest, "sha256:"))
	if err := os.Rename(temporary, dir); err != nil {
		there, againErr := snapshotOf(name, "", dir, opts)
		if againErr != nil || there.Digest != s.Digest {
			return nil, &Error{Kind: ErrInvalid, Model: name, What: "a damaged copy lies in " + dir, Next: "Remove that folder", Err: err}
		}
	}
	s.Dir = dir
	return s, nil
}

// storeKind tells a missing object from a store that does not answer.
func storeKind(ctx context.Context, store Store, key string) error {
	versions, err := store.Versions(ctx, key)
	if err == nil && len(versions) == 0 {
		return ErrNotFound
	}
	if err == nil {
		return ErrInvalid
	}
	return ErrUnavailable
}

func noStore(ref string) error {
	return &Error{Kind: ErrInvalid, Model: ref, What: "no object store is configured here", Next: "Name a folder or a repository of the hub"}
}

func (o Options) report(p Progress) {
	if o.Progress != nil {
		o.Progress(p)
	}
}
