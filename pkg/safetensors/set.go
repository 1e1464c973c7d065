package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

const (
	// SingleFile is the name of the weights of a model that fit into one file.
	SingleFile = "model.safetensors"
	// IndexFile maps tensor names to the files of a sharded model.
	IndexFile = "model.safetensors.index.json"
	maxIndex  = 100_000_000
)

// ProblemsError lists everything that is wrong with the weights of one folder.
type ProblemsError struct {
	Path     string
	Problems []string
}

func (e *ProblemsError) Error() string {
	if len(e.Problems) == 1 {
		return fmt.Sprintf("%s: %s", e.Path, e.Problems[0])
	}
	return fmt.Sprintf("%s: %d problems:\n  %s", e.Path, len(e.Problems), strings.Join(e.Problems, "\n  "))
}

// Set is all tensors of a model folder, whether they lie in one file or in shards. Its methods may be
// called from several goroutines, Close excepted.
type Set struct {
	dir   string
	files []*File
	owner map[string]*File
	names []string
}

// OpenDir opens the weights of a model folder: model.safetensors, or else the shards that
// model.safetensors.index.json names. Shards that are missing or damaged, and tensors that the index and
// the shards disagree about, are reported together in one *ProblemsError.
func OpenDir(dir string) (*Set, error) {
	single := filepath.Join(dir, SingleFile)
	if _, err := os.Stat(single); err == nil {
		f, err := Open(single)
		if err != nil {
			return nil, err
		}
		s := &Set{dir: dir, files: []*File{f}, owner: map[string]*File{}, names: f.Names()}
		for _, name := range s.names {
			s.owner[name] = f
		}
		return s, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open weights: %w", err)
	}
	index := filepath.Join(dir, IndexFile)
	weightMap, err := readIndex(index)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has neither %s nor %s: only safetensors weights can be used; "+
			"convert other formats with transformers' save_pretrained", dir, SingleFile, IndexFile)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", index, err)
	}
	return openShards(dir, index, weightMap)
}

func openShards(dir, index string, weightMap map[string]string) (*Set, error) {
	s := &Set{dir: dir, owner: map[string]*File{}}
	var problems []string
	shards := map[string]*File{}
	for _, shard := range shardNames(weightMap) {
		if filepath.Base(shard) != shard || shard == "." || shard == ".." || strings.ContainsAny(shard, `/\`) {
			problems = append(problems, fmt.Sprintf("shard %q is not a plain file name", shard))
			continue
		}
		f, err := Open(filepath.Join(dir, shard))
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		shards[shard] = f
		s.files = append(s.files, f)
		for _, name := range f.Names() {
			switch want, listed := weightMap[name]; {
			case !listed:
				problems = append(problems, fmt.Sprintf("tensor %q of %s is not in the index", name, shard))
			case want != shard:
				problems = append(problems, fmt.Sprintf("tensor %q lies in %s, the index says %s", name, shard, want))
			default:
				s.owner[name] = f
				s.names = append(s.names, name)
			}
		}
	}
	for name, shard := range weightMap {
		if f := shards[shard]; f != nil && s.owner[name] == nil {
			problems = append(problems, fmt.Sprintf("tensor %q is missing from %s", name, shard))
		}
	}
	if len(problems) > 0 {
		sort.Strings(problems)
		_ = s.Close() // the problems found are what the caller needs to see
		return nil, &ProblemsError{Path: index, Problems: problems}
	}
	sort.Strings(s.names)
	return s, nil
}

func shardNames(weightMap map[string]string) []string {
	seen := map[string]bool{}
	var names []string
	for _, shard := range weightMap {
		if !seen[shard] {
			seen[shard] = true
			names = append(names, shard)
		}
	}
	sort.Strings(names)
	return names
}

// readIndex reads the weight map. Go's decoder lets the last of two equal keys win, which is harmless
// here: each tensor is compared with the shard that it really lies in.
func readIndex(path string) (map[string]string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxIndex {
		return nil, fmt.Errorf("the index has %d bytes, more than the %d allowed", st.Size(), maxIndex)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&index); err != nil {
		return nil, fmt.Errorf("not a JSON index: %w", err)
	}
	if len(index.WeightMap) == 0 {
		return nil, errors.New("weight_map is missing or empty")
	}
	return index.WeightMap, nil
}

// Dir returns the folder that the set was opened from.
func (s *Set) Dir() string { return s.dir }

// Names returns the names of all tensors, sorted.
func (s *Set) Names() []string { return append([]string(nil), s.names...) }

// Info returns type and shape of a tensor, and whether the set has it.
func (s *Set) Info(name string) (Info, bool) {
	f := s.owner[name]
	if f == nil {
		return Info{}, false
	}
	return f.Info(name)
}

// Bytes returns the little-endian bytes of a tensor as File.Bytes does, or nil.
func (s *Set) Bytes(name string) []byte {
	f := s.owner[name]
	if f == nil {
		return nil
	}
	return f.Bytes(name)
}

// Float32 returns a tensor as File.Float32 does.
func (s *Set) Float32(name string) ([]float32, error) {
	f := s.owner[name]
	if f == nil {
		return nil, fmt.Errorf("%s has no tensor %q", s.dir, name)
	}
	return f.Float32(name)
}

// Files returns the files that hold the tensors, in the order of their names.
func (s *Set) Files() []*File { return append([]*File(nil), s.files...) }

// Close releases all mappings. It may be called more than once.
func (s *Set) Close() error {
	var errs []error
	for _, f := range s.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
