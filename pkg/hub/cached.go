package hub

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// CachedModel is a complete model in the download cache.
type CachedModel struct {
	Name   string // org/name
	Commit string
	Dir    string
	Size   int64 // bytes of the files that a model needs
}

// Cached lists the complete models of the download cache, by name and commit, whoever downloaded them.
func Cached(cfg Config) ([]CachedModel, error) {
	repos, err := os.ReadDir(cfg.CacheDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []CachedModel
	for _, repo := range repos {
		name, ok := strings.CutPrefix(repo.Name(), cachePrefix)
		if !ok {
			name, ok = strings.CutPrefix(repo.Name(), scopePrefix)
		}
		if !ok {
			continue
		}
		snapshots, err := os.ReadDir(filepath.Join(cfg.CacheDir, repo.Name(), "snapshots"))
		if err != nil {
			continue // a repository without a snapshot yet
		}
		for _, s := range snapshots {
			dir := filepath.Join(cfg.CacheDir, repo.Name(), "snapshots", s.Name())
			files, missing, err := modelFiles(dir)
			if err != nil || len(missing) > 0 {
				continue // not complete, or of another kind
			}
			m := CachedModel{Name: strings.Replace(name, "--", "/", 1), Commit: s.Name(), Dir: dir}
			for _, f := range files {
				if st, err := os.Stat(filepath.Join(dir, f)); err == nil {
					m.Size += st.Size()
				}
			}
			list = append(list, m)
		}
	}
	return list, nil
}
