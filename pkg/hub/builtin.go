package hub

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// resolveBuiltin unpacks a model that is part of the program into a folder named by its digest: weights are
// mapped into memory, which needs a file.
func resolveBuiltin(ref string, opts Options) (*Snapshot, error) {
	name := strings.TrimPrefix(ref, "builtin:")
	if dir := os.Getenv("DESCANT_TINY_BASE"); name == "tiny" && dir != "" {
		return snapshotOf(ref, "", dir, opts)
	}
	source, ok := opts.Builtin[name]
	if !ok {
		var known []string
		for k := range opts.Builtin {
			known = append(known, "builtin:"+k)
		}
		sort.Strings(known)
		return nil, &Error{Kind: ErrNotFound, Model: ref, What: "there is no built-in model of that name",
			Next: "Known are: " + strings.Join(known, ", ")}
	}
	root := filepath.Join(opts.WorkDir, "builtin")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, &Error{Kind: ErrInvalid, Model: ref, What: "cannot be unpacked", Err: err}
	}
	temporary, err := os.MkdirTemp(root, ".unpack-*")
	if err != nil {
		return nil, &Error{Kind: ErrInvalid, Model: ref, What: "cannot be unpacked", Err: err}
	}
	defer func() { _ = os.RemoveAll(temporary) }() // gone after the rename; else rubbish that harms nobody
	if err := unpack(source, temporary); err != nil {
		return nil, &Error{Kind: ErrInvalid, Model: ref, What: "cannot be unpacked", Err: err}
	}
	s, err := snapshotOf(ref, "", temporary, opts)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(root, strings.TrimPrefix(s.Digest, "sha256:"))
	if err := os.Rename(temporary, dir); err != nil {
		// Already unpacked: believed only if its files still have the digest that names the folder.
		if there, againErr := snapshotOf(ref, "", dir, opts); againErr == nil && there.Digest == s.Digest {
			return there, nil
		}
		if err := os.RemoveAll(dir); err != nil {
			return nil, &Error{Kind: ErrInvalid, Model: ref, What: "a damaged copy cannot be replaced", Err: err}
		}
		if err := os.Rename(temporary, dir); err != nil {
			return nil, &Error{Kind: ErrInvalid, Model: ref, What: "cannot be unpacked", Err: err}
		}
	}
	s.Dir = dir
	return s, nil
}

// unpack copies the files at the top of a file system into a folder.
func unpack(source fs.FS, dir string) error {
	entries, err := fs.ReadDir(source, ".")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue
		}
		data, err := fs.ReadFile(source, entry.Name())
		if err != nil {
			return fmt.Errorf("read %s: %w", entry.Name(), err)
		}
		if err := os.WriteFile(filepath.Join(dir, entry.Name()), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
