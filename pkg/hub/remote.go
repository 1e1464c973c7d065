package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// parallel is how many files are fetched at a time: more than one to fill a long line, few enough to be
// kind to the hub.
const parallel = 4

// repoCache is the folder of one repository in the cache shared with Python.
type repoCache struct{ dir string }

func (r repoCache) snapshot(commit string) string { return filepath.Join(r.dir, "snapshots", commit) }
func (r repoCache) blob(etag string) string       { return filepath.Join(r.dir, "blobs", etag) }
func (r repoCache) ref(revision string) string    { return filepath.Join(r.dir, "refs", revision) }
func (r repoCache) lock(etag string) string {
	return filepath.Join(filepath.Dir(r.dir), ".locks", filepath.Base(r.dir), etag+".lock")
}

// commit returns the commit that a revision stood for when it was last asked for, or "".
func (r repoCache) commit(revision string) string {
	if commitPattern.MatchString(revision) {
		return revision
	}
	text, err := os.ReadFile(r.ref(revision))
	if err != nil || !commitPattern.MatchString(strings.TrimSpace(string(text))) {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// resolveRemote asks the hub what the revision is, fetches what is not in the cache, and falls back to the
// cache when the hub does not answer.
func resolveRemote(ctx context.Context, repo, revision string, opts Options) (*Snapshot, error) {
	cache := repoCache{dir: filepath.Join(opts.CacheDir, cachePrefix+strings.ReplaceAll(repo, "/", "--"))}
	var c remote = newClient(repo, revision, opts)
	if opts.ModelScope {
		cache.dir = filepath.Join(opts.CacheDir, scopePrefix+strings.ReplaceAll(repo, "/", "--"))
		c = newModelScope(repo, revision, opts)
	}
	if opts.Offline {
		s, err := cached(cache, c, revision, opts)
		if err != nil {
			return nil, &Error{Kind: ErrNotFound, Model: c.name(), What: "it is not complete in the cache " + opts.CacheDir + " and offline mode is on", Err: err,
				Next: "Unset HF_HUB_OFFLINE (hub.offline) to download it, or name a folder"}
		}
		return s, nil
	}
	if commitPattern.MatchString(revision) {
		if s, err := cached(cache, c, revision, opts); err == nil {
			return s, nil // a commit never changes: no need to ask
		}
	}
	list, err := c.list(ctx)
	if errors.Is(err, ErrUnavailable) {
		if s, cacheErr := cached(cache, c, revision, opts); cacheErr == nil {
			s.Note = fmt.Sprintf("%s does not answer: using commit %s from the cache", c.host(), s.Revision)
			return s, nil
		}
	}
	if err != nil {
		return nil, err
	}
	d := &download{client: c, cache: cache, commit: list.Commit, opts: opts, name: c.name()}
	if err := d.all(ctx, list); err != nil {
		return nil, err
	}
	if revision != list.Commit {
		if err := replaceFile(cache.ref(revision), []byte(list.Commit)); err != nil {
			return nil, &Error{Kind: ErrInvalid, Model: c.name(), What: "cannot write to the cache", Err: err, Next: "Check HF_HOME"}
		}
	}
	return snapshotOf(c.name(), list.Commit, cache.snapshot(list.Commit), opts)
}

func cached(cache repoCache, c remote, revision string, opts Options) (*Snapshot, error) {
	commit := cache.commit(revision)
	if commit == "" {
		return nil, fmt.Errorf("revision %s was never downloaded", revision)
	}
	return snapshotOf(c.name(), commit, cache.snapshot(commit), opts)
}

// download is one run over the files of a commit.
type download struct {
	client remote
	cache  repoCache
	commit string
	opts   Options
	name   string

	mu          sync.Mutex
	done, total int64
}

// all fetches the small files and the index first: the index says which weights there are.
func (d *download) all(ctx context.Context, list *listing) error {
	var have []string
	for _, s := range list.Siblings {
		have = append(have, s.Name)
	}
	required, optional := smallFiles()
	var small, missing []string
	for _, name := range required {
		if slices.Contains(have, name) {
			small = append(small, name)
		} else {
			missing = append(missing, name)
		}
	}
	for _, name := range optional {
		if slices.Contains(have, name) {
			small = append(small, name)
		}
	}
	weights := []string{singleWeights}
	switch {
	case slices.Contains(have, singleWeights):
	case slices.Contains(have, weightsIndex):
		small, weights = append(small, weightsIndex), nil
	default:
		missing = append(missing, singleWeights)
	}
	if len(missing) > 0 {
		return &Error{Kind: ErrInvalid, Model: d.name, What: "the repository has no " + strings.Join(missing, ", no "),
			Next: "Choose a model with a fast tokenizer and safetensors weights"}
	}
	if err := d.files(ctx, small); err != nil {
		return err
	}
	if weights == nil {
		index, err := readLimited(filepath.Join(d.cache.snapshot(d.commit), weightsIndex), maxIndexBytes)
		if err == nil {
			weights, err = shardsOf(index)
		}
		if err != nil {
			return &Error{Kind: ErrInvalid, Model: d.name, What: "its weights cannot be listed", Err: err}
		}
	}
	return d.files(ctx, weights)
}

func (d *download) files(ctx context.Context, names []string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, name := range names {
		group.Go(func() error { return d.file(ctx, name) })
	}
	return group.Wait()
}

// file makes one file appear in the snapshot folder.
func (d *download) file(ctx context.Context, name string) error {
	target := filepath.Join(d.cache.snapshot(d.commit), name)
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	remote, err := d.client.head(ctx, d.commit, name)
	if err != nil {
		return err
	}
	d.progress(name, 0, max(remote.size, 0))
	if err := d.fetchBlob(ctx, name, remote); err != nil {
		return err
	}
	if err := link(d.cache.blob(remote.etag), target); err != nil {
		return &Error{Kind: ErrInvalid, Model: d.name, What: "cannot write to the cache", Err: err, Next: "Check HF_HOME"}
	}
	return nil
}

// link makes target a relative symbolic link to blob, as huggingface_hub does, and replaces a dangling one.
func link(blob, target string) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	rel, err := filepath.Rel(filepath.Dir(target), blob)
	if err != nil {
		return err
	}
	temporary := target + ".link"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(rel, temporary); err != nil {
		return err
	}
	return os.Rename(temporary, target)
}

func (d *download) progress(file string, done, total int64) {
	d.mu.Lock()
	d.done += done
	d.total += total
	p := Progress{Name: d.name, File: file, Done: d.done, Total: d.total}
	d.mu.Unlock()
	d.opts.report(p)
}
