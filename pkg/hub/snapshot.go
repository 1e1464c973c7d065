package hub

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
)

const (
	singleWeights = "model.safetensors"
	weightsIndex  = "model.safetensors.index.json"
	maxIndexBytes = 100_000_000
)

// required are the small files without which a model is of no use; optional ones are used where they exist.
// Others (merges.txt, READMEs, weights in other formats) say nothing new and stay out of the digest.
func smallFiles() (required, optional []string) {
	return []string{"config.json", "tokenizer.json"},
		[]string{"chat_template.jinja", "chat_template.json", "generation_config.json", "tokenizer_config.json"}
}

var shardPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors$`)

// shardsOf lists the shards that an index names, sorted.
func shardsOf(index []byte) ([]string, error) {
	var doc struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(index, &doc); err != nil {
		return nil, fmt.Errorf("%s is not a JSON index: %w", weightsIndex, err)
	}
	var names []string
	for _, shard := range doc.WeightMap {
		if !shardPattern.MatchString(shard) {
			return nil, fmt.Errorf("%s names the file %q, which is not a plain safetensors name", weightsIndex, shard)
		}
		names = append(names, shard)
	}
	sort.Strings(names)
	names = slices.Compact(names)
	if len(names) == 0 {
		return nil, fmt.Errorf("%s names no file", weightsIndex)
	}
	return names, nil
}

// modelFiles returns the names of the files in dir that belong to the model, or everything that is missing.
func modelFiles(dir string) (names, missing []string, err error) {
	exists := func(name string) bool {
		st, statErr := os.Stat(filepath.Join(dir, name))
		return statErr == nil && st.Mode().IsRegular()
	}
	required, optional := smallFiles()
	for _, name := range required {
		if exists(name) {
			names = append(names, name)
		} else {
			missing = append(missing, name)
		}
	}
	for _, name := range optional {
		if exists(name) {
			names = append(names, name)
		}
	}
	switch {
	case exists(singleWeights):
		names = append(names, singleWeights)
	case exists(weightsIndex):
		names = append(names, weightsIndex)
		index, err := readLimited(filepath.Join(dir, weightsIndex), maxIndexBytes)
		if err != nil {
			return nil, nil, err
		}
		shards, err := shardsOf(index)
		if err != nil {
			return nil, nil, err
		}
		for _, shard := range shards {
			if exists(shard) {
				names = append(names, shard)
			} else {
				missing = append(missing, shard)
			}
		}
	default:
		missing = append(missing, singleWeights)
	}
	sort.Strings(names)
	return names, missing, nil
}

func readLimited(path string, limit int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d allowed", path, st.Size(), limit)
	}
	return os.ReadFile(path)
}

// snapshotOf checks that dir holds a whole model and computes its digest.
func snapshotOf(name, revision, dir string, opts Options) (*Snapshot, error) {
	names, missing, err := modelFiles(dir)
	if err != nil {
		return nil, &Error{Kind: ErrInvalid, Model: name, What: "its weights cannot be listed", Err: err}
	}
	if len(missing) > 0 {
		next := "Check the folder " + dir
		if len(missing) == 1 && missing[0] == singleWeights {
			next = "Only safetensors weights can be used; convert others with transformers' save_pretrained"
		}
		return nil, &Error{Kind: ErrInvalid, Model: name, What: "missing " + strings.Join(missing, ", "), Next: next}
	}
	s := &Snapshot{Dir: dir, Name: name, Revision: revision}
	cache := digestCache{dir: filepath.Join(opts.WorkDir, "digests")}
	for _, file := range names {
		sum, size, err := cache.sha256(filepath.Join(dir, file))
		if err != nil {
			return nil, &Error{Kind: ErrInvalid, Model: name, What: "cannot read " + file, Err: err}
		}
		s.Files = append(s.Files, File{Name: file, Size: size, SHA256: sum})
	}
	s.Digest = digestOf(s.Files)
	return s, nil
}

// digestOf hashes one line "<sha256> <size> <name>\n" for each file, in the order of names.
func digestOf(files []File) string {
	h := sha256.New()
	for _, f := range files {
		fmt.Fprintf(h, "%s %d %s\n", f.SHA256, f.Size, f.Name)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
