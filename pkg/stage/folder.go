package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"descant/pkg/blob"
	"descant/pkg/job"
)

// Folder is a set of files in the object store that one stage hands to another: tokenized shards, a
// checkpoint. The manifest is written last and create-only; without it the folder does not exist.
//
//	<prefix>/<file> …
//	<prefix>/manifest.json
type Folder struct {
	Format int          `json:"format"`
	Files  []FolderFile `json:"files"`
	// Info is what the writing stage tells about the files.
	Info json.RawMessage `json:"info,omitempty"`
}

// FolderFile is one file of a folder.
type FolderFile struct {
	Name   string `json:"name"`
	Digest string `json:"digest"` // sha256:<hex>
	Size   int64  `json:"size"`   // bytes
}

const (
	// FolderManifest is the name of a folder's manifest.
	FolderManifest = "manifest.json"

	folderFormat = 1
	maxManifest  = 16 << 20
)

// ErrDamaged is wrapped by the error of a folder that is not what was stored: a file is missing or has another digest,
// or its manifest cannot be read.
var ErrDamaged = errors.New("damaged")

func damaged(doing string, err error) error {
	return job.BugError(doing, fmt.Errorf("%w: %w", ErrDamaged, err))
}

// PutFolder stores every file below dir, info as JSON, and then the manifest. A folder that is there
// already wins: whoever was quicker wrote the same.
func PutFolder(ctx context.Context, objects *blob.Store, prefix, dir string, info any) (Folder, error) {
	folder := Folder{Format: folderFormat}
	var err error
	if folder.Info, err = json.Marshal(info); err != nil {
		return folder, job.BugError("write manifest of "+prefix, err)
	}
	names, err := filesBelow(dir)
	if err != nil {
		return folder, job.BugError("list "+dir, err)
	}
	for _, name := range names {
		path := filepath.Join(dir, filepath.FromSlash(name))
		digest, size, err := blob.DigestFile(path)
		if err != nil {
			return folder, job.BugError("read "+name, err)
		}
		if err := objects.PutFile(ctx, prefix+"/"+name, path); err != nil {
			return folder, job.InfrastructureError(job.CodeStore, "store "+name, err)
		}
		folder.Files = append(folder.Files, FolderFile{Name: name, Digest: digest, Size: size})
	}
	data, err := json.Marshal(folder)
	if err != nil {
		return folder, job.BugError("write manifest of "+prefix, err)
	}
	err = objects.PutIfAbsent(ctx, prefix+"/"+FolderManifest, data)
	if errors.Is(err, blob.ErrExists) {
		return GetFolder(ctx, objects, prefix)
	}
	if err != nil {
		return folder, job.InfrastructureError(job.CodeStore, "store manifest of "+prefix, err)
	}
	return folder, nil
}

func filesBelow(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err == nil && entry.Type().IsRegular() && name != FolderManifest {
			names = append(names, filepath.ToSlash(name))
		}
		return err
	})
	slices.Sort(names)
	return names, err
}

// GetFolder reads a folder's manifest; blob.ErrNotFound if there is none.
func GetFolder(ctx context.Context, objects *blob.Store, prefix string) (Folder, error) {
	var folder Folder
	data, err := objects.Read(ctx, prefix+"/"+FolderManifest, maxManifest)
	if errors.Is(err, blob.ErrNotFound) {
		return folder, err
	}
	if err != nil {
		return folder, job.InfrastructureError(job.CodeStore, "read manifest of "+prefix, err)
	}
	if err := json.Unmarshal(data, &folder); err != nil {
		return folder, damaged("read manifest of "+prefix, err)
	}
	if folder.Format != folderFormat {
		return folder, damaged("read manifest of "+prefix, fmt.Errorf("format %d is not known", folder.Format))
	}
	return folder, nil
}

// Digest identifies the content of the folder.
func (f Folder) Digest() string {
	data, err := json.Marshal(f.Files)
	if err != nil {
		panic(err) // strings and numbers always have a JSON form
	}
	return blob.Digest(data)
}

// Fetch brings the files into dir, each verified, and returns their paths in the manifest's order.
// Files that lie there already with the right digest are kept.
func (f Folder) Fetch(ctx context.Context, objects *blob.Store, prefix, dir string) ([]string, error) {
	var paths []string
	for _, file := range f.Files {
		if !fs.ValidPath(file.Name) || strings.Contains(file.Name, `\`) {
			return nil, damaged("fetch "+prefix, fmt.Errorf("its manifest names a file %q outside its folder", file.Name))
		}
		path := filepath.Join(dir, filepath.FromSlash(file.Name))
		paths = append(paths, path)
		if stat, err := os.Stat(path); err == nil && stat.Size() == file.Size {
			if digest, _, err := blob.DigestFile(path); err == nil && digest == file.Digest {
				continue
			}
		}
		if err := objects.GetFile(ctx, prefix+"/"+file.Name, path, file.Digest); err != nil {
			if errors.Is(err, blob.ErrDigest) || errors.Is(err, blob.ErrNotFound) {
				return nil, damaged("fetch "+file.Name, err)
			}
			return nil, job.InfrastructureError(job.CodeStore, "fetch "+file.Name, err)
		}
	}
	return paths, nil
}
