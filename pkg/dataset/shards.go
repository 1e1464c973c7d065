package dataset

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"sync"

	"github.com/parquet-go/parquet-go"
)

// Shards are tokenised rows that can be read in any order. Their tokens are on disk, in memory there are 24 bytes a row, and
// 8 more while they are arranged.
type Shards struct {
	mu       sync.Mutex // of reading tokens
	tokens   *spool
	arranged *arrangement // nil for none
	starts   []int64      // of row i, in tokens; one more than rows
	rows     []int64      // index of row i in the dataset
	lines    []int64      // line of row i in the dataset's file, or 0
	parts    []partRows
	metadata map[string]string
}

// partRows says that the rows from one on, up to those of the next entry, are of a dataset among several; -1 where the
// shard does not say of which.
type partRows struct{ from, part int }

// maxShardTokens bounds a shard set to 8 GiB of disk, and as much for an arrangement.
const maxShardTokens = 2 << 30

// OpenShards reads shards in the order of the paths. It refuses a shard of another layout, a row with
// more or fewer labels than ids, a label that is neither its id nor -100, and shards that were made with other options.
func OpenShards(paths []string) (*Shards, error) { return openShards(paths, blockTokens) }

func openShards(paths []string, size int64) (*Shards, error) {
	if len(paths) == 0 {
		return nil, errors.New("open shards: no path is given")
	}
	tokens, err := newSpool(filepath.Dir(paths[0]), size)
	if err != nil {
		return nil, err
	}
	s := &Shards{tokens: tokens, starts: []int64{0}}
	for _, path := range paths {
		if err := s.read(path); err != nil {
			return nil, fmt.Errorf("open shard %s: %w", path, err)
		}
	}
	if err := tokens.flush(); err != nil {
		return nil, err
	}
	if s.Len() == 0 {
		return nil, errors.New("open shards: there is no row in them")
	}
	return s, nil
}

// own are the metadata that belong to one shard and not to all.
var own = map[string]bool{"descant.part": true, "descant.rows": true, "descant.tokens": true, "descant.trained_tokens": true}

func (s *Shards) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	file, err := parquet.OpenFile(f, info.Size())
	if err != nil {
		return fmt.Errorf("not a Parquet file, or a damaged one: %w", err)
	}
	metadata := map[string]string{}
	for _, kv := range file.Metadata().KeyValueMetadata {
		metadata[kv.Key] = kv.Value
	}
	if v := metadata["descant.format"]; v != shardFormat {
		return fmt.Errorf("the shard has the format %q, this program reads %q: tokenise the dataset again", v, shardFormat)
	}
	if err := s.agree(metadata); err != nil {
		return err
	}
	for _, column := range []string{"input_ids", "labels", "row"} {
		if file.Root().Column(column) == nil {
			return fmt.Errorf("the column %s is missing", column)
		}
	}
	part, err := strconv.Atoi(metadata["descant.part"])
	if err != nil {
		part = -1 // shards of earlier versions do not say
	}
	s.parts = append(s.parts, partRows{s.Len(), part})
	if err := s.rowsOf(parquet.NewGenericReader[shardRow](file)); err != nil {
		return err
	}
	if want := metadata["descant.rows"]; want != strconv.FormatInt(file.NumRows(), 10) {
		return fmt.Errorf("the shard has %d rows, its metadata say %s", file.NumRows(), want)
	}
	return nil
}

// agree holds that all shards were made with the same options.
func (s *Shards) agree(metadata map[string]string) error {
	if s.metadata == nil {
		s.metadata = metadata
		return nil
	}
	for _, m := range []map[string]string{metadata, s.metadata} {
		for key := range m {
			if !own[key] && metadata[key] != s.metadata[key] {
				return fmt.Errorf("its metadata %s is %q, that of the first shard is %q", key, metadata[key], s.metadata[key])
			}
		}
	}
	return nil
}

func (s *Shards) rowsOf(in *parquet.GenericReader[shardRow]) error {
	defer in.Close()
	batch := make([]shardRow, 256)
	for {
		n, err := in.Read(batch)
		for _, row := range batch[:n] {
			if len(row.InputIDs) != len(row.Labels) || len(row.InputIDs) == 0 {
				return fmt.Errorf("row %d has %d ids and %d labels", row.Row, len(row.InputIDs), len(row.Labels))
			}
			if s.tokens.tokens+int64(len(row.InputIDs)) > maxShardTokens {
				return fmt.Errorf("the shards hold more than %d tokens: use fewer rows", maxShardTokens)
			}
			for i, label := range row.Labels {
				if id := row.InputIDs[i]; id < 0 || label != id && label != IgnoreLabel {
					return fmt.Errorf("row %d has the id %d with the label %d at position %d", row.Row, id, label, i)
				}
			}
			if err := s.tokens.add(row.InputIDs, row.Labels); err != nil {
				return err
			}
			s.starts = append(s.starts, s.tokens.tokens)
			s.rows = append(s.rows, row.Row)
			s.lines = append(s.lines, row.Line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Len is the number of rows.
func (s *Shards) Len() int { return len(s.rows) }

// Row returns the ids and labels of row i (0 ≤ i < Len). They are of equal length. It is safe for concurrent use. It panics
// when the disk fails: there is nothing that a training could do without its rows.
func (s *Shards) Row(i int) (ids, labels []int32) {
	from, n := s.starts[i], int(s.starts[i+1]-s.starts[i])
	s.mu.Lock()
	defer s.mu.Unlock()
	var data []byte
	var err error
	if a := s.arranged; a != nil && a.starts[i] >= 0 {
		data, err = a.row(a.starts[i], n)
	}
	if data == nil && err == nil {
		data, err = s.tokens.row(from, n)
	}
	if data == nil && err == nil {
		data, err = s.tokens.alone(from, n)
	}
	if err != nil {
		panic(fmt.Errorf("dataset: %w", err))
	}
	return tokensOf(data)
}

// Index is the place of row i among the rows of the dataset that could be read, from 0.
func (s *Shards) Index(i int) int { return int(s.rows[i]) }

// Line is the line of the dataset's file on which row i begins, from 1, or 0 where the shards do not say.
func (s *Shards) Line(i int) int { return int(s.lines[i]) }

// Part is the number of the dataset that row i is of, among several, from 0, or -1 where the shards do not say.
func (s *Shards) Part(i int) int {
	at := sort.Search(len(s.parts), func(k int) bool { return s.parts[k].from > i })
	return s.parts[at-1].part
}

// Metadata is the value of a key of the first shard's metadata.
func (s *Shards) Metadata(key string) string { return s.metadata[key] }

// Tokens is the number of tokens of all rows, and how many of them are trained.
func (s *Shards) Tokens() (all, trained int64) {
	for i := range s.Len() {
		_, labels := s.Row(i)
		for _, label := range labels[1:] {
			if label != IgnoreLabel {
				trained++
			}
		}
	}
	return s.tokens.tokens, trained
}

// Lengths are those of all rows.
func (s *Shards) Lengths() Lengths {
	var h histogram
	for i := range s.Len() {
		h.add(int(s.starts[i+1] - s.starts[i]))
	}
	return h.summary()
}

// Order is the order of all rows in an epoch: see the function Order.
func (s *Shards) Order(seed int64, epoch int) []int { return Order(s.Len(), seed, epoch) }

// Subset is a part of the rows, in the order of the given indices.
func (s *Shards) Subset(rows []int) *Subset { return &Subset{shards: s, rows: rows} }

// Subset is a choice of rows of Shards, such as those for evaluation.
type Subset struct {
	shards *Shards
	rows   []int
}

// Len is the number of rows.
func (s *Subset) Len() int { return len(s.rows) }

// Row returns the ids and labels of row i of the subset.
func (s *Subset) Row(i int) (ids, labels []int32) { return s.shards.Row(s.rows[i]) }

// Index is that of row i of the subset among the rows of the dataset: see [Shards.Index].
func (s *Subset) Index(i int) int { return s.shards.Index(s.rows[i]) }

// Line is that of row i of the subset: see [Shards.Line].
func (s *Subset) Line(i int) int { return s.shards.Line(s.rows[i]) }

// Arrange prepares for the rows of the subset to be wanted in this order: see [Shards.Arrange].
func (s *Subset) Arrange(order []int) error {
	rows := make([]int, len(order))
	for at, i := range order {
		rows[at] = s.rows[i]
	}
	return s.shards.Arrange(rows)
}

// Part is that of row i of the subset: see [Shards.Part].
func (s *Subset) Part(i int) int { return s.shards.Part(s.rows[i]) }

// Order is the order of all rows of the subset in an epoch.
func (s *Subset) Order(seed int64, epoch int) []int { return Order(len(s.rows), seed, epoch) }
