package inference

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"descant/pkg/blob"
	"descant/pkg/job"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// disk keeps fetched versions in folders by digest, the most recently used ones up to a number of
// bytes. What is there needs no object store.
type disk struct {
	registry *registry.Registry
	root     string
	most     int64
	log      *slog.Logger

	// grown says that there may be more than most bytes: looking costs a walk over all folders.
	grown atomic.Bool

	mu   sync.Mutex
	busy map[string]int // digests that are being fetched or read
}

func newDisk(reg *registry.Registry, root string, most int64, log *slog.Logger) *disk {
	d := &disk{registry: reg, root: root, most: most, log: log, busy: map[string]int{}}
	d.grown.Store(true) // by an earlier process
	return d
}

// has tells whether a version is there.
func (d *disk) has(digest string) bool {
	_, err := os.Stat(d.folder(digest))
	return err == nil
}

func (d *disk) folder(digest string) string {
	return filepath.Join(d.root, strings.TrimPrefix(digest, "sha256:"))
}

// manifest returns the folder of a version, fetched if need be, with its manifest.
func (d *disk) manifest(ctx context.Context, version *pb.AdapterVersion) (dir string, manifest *pb.AdapterManifest, err error) {
	defer d.use(version.GetDigest())()
	for again := false; ; again = true {
		there := d.has(version.GetDigest())
		if dir, err = d.registry.Fetch(ctx, version, d.root); err != nil {
			return "", nil, err
		}
		if !there {
			d.grown.Store(true)
		}
		manifest, err = d.registry.FetchedManifest(dir, version)
		if err == nil || again {
			break
		}
		d.discard(dir, err)
	}
	if err == nil {
		d.touch(dir)
	}
	return dir, manifest, err
}

// read has a version's folder read once its files are those of its manifest. A folder that is damaged
// is fetched again.
func (d *disk) read(ctx context.Context, version *pb.AdapterVersion, read func(dir string, manifest *pb.AdapterManifest) error) error {
	defer d.use(version.GetDigest())()
	for again := false; ; again = true {
		dir, manifest, err := d.manifest(ctx, version)
		if err != nil {
			return err
		}
		err = verify(dir, manifest)
		if err == nil {
			return read(dir, manifest)
		}
		if again {
			return job.BugError("read adapter", err)
		}
		d.discard(dir, err)
	}
}

// verify compares the files of a folder with their digests.
func verify(dir string, manifest *pb.AdapterManifest) error {
	for _, file := range manifest.GetFiles() {
		digest, _, err := blob.DigestFile(filepath.Join(dir, file.GetName()))
		if err != nil {
			return err
		}
		if digest != file.GetDigest() {
			return fmt.Errorf("%s in %s has digest %s, its manifest says %s", file.GetName(), dir, digest, file.GetDigest())
		}
	}
	return nil
}

// discard removes a folder that is not what it should be.
func (d *disk) discard(dir string, why error) {
	d.log.Warn("a fetched adapter is damaged on this disk; it is fetched again", "dir", dir, "error", why)
	if err := os.RemoveAll(dir); err != nil {
		d.log.Error("cannot remove a damaged folder", "dir", dir, "error", err)
	}
}

// use keeps a version from being cleared away until the returned function is called.
func (d *disk) use(digest string) (done func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy[digest]++
	return func() {
		d.mu.Lock()
		if d.busy[digest]--; d.busy[digest] == 0 {
			delete(d.busy, digest)
		}
		d.mu.Unlock()
	}
}

// touch marks a folder as used now; the mark outlives this process.
func (d *disk) touch(dir string) {
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil {
		d.log.Debug("cannot mark a folder as used", "dir", dir, "error", err)
	}
}

// folder is a version on disk.
type folder struct {
	path  string
	bytes int64
	used  time.Time
}

// folders lists what is there, and its bytes.
func (d *disk) folders() (all []folder, total int64, err error) {
	entries, err := os.ReadDir(d.root)
	if err != nil {
		return nil, 0, err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !entry.IsDir() || len(entry.Name()) != 64 {
			continue // gone meanwhile, or none of ours
		}
		one := folder{path: filepath.Join(d.root, entry.Name()), used: info.ModTime()}
		if one.bytes, err = folderSize(one.path); err != nil {
			return nil, 0, err
		}
		total += one.bytes
		all = append(all, one)
	}
	return all, total, nil
}

// trim removes the least recently used folders until the rest is small enough. keep tells which digests
// stay. It looks only where something was fetched since it last found few enough bytes.
func (d *disk) trim(keep func(digest string) bool) error {
	if !d.grown.Swap(false) {
		return nil
	}
	all, total, err := d.folders()
	defer func() {
		if err != nil || total > d.most {
			d.grown.Store(true)
		}
	}()
	if err != nil {
		return err
	}
	slices.SortFunc(all, func(a, b folder) int { return a.used.Compare(b.used) })
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, one := range all {
		digest := "sha256:" + filepath.Base(one.path)
		if total <= d.most {
			break
		}
		if keep(digest) || d.busy[digest] > 0 {
			continue
		}
		if err = os.RemoveAll(one.path); err != nil {
			return err
		}
		total -= one.bytes
	}
	return nil
}

func folderSize(dir string) (bytes int64, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			bytes += info.Size()
		}
	}
	return bytes, err
}
