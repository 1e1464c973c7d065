package dataset

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// shardFormat is the version of the layout of shards.
const shardFormat = "1"

// rowsPerGroup bounds the memory of writing and reading a shard.
const rowsPerGroup = 4096

// shardRow is the schema of a shard.
type shardRow struct {
	InputIDs []int32 `parquet:"input_ids,list"`
	Labels   []int32 `parquet:"labels,list"`
	Row      int64   `parquet:"row"`
	Line     int64   `parquet:"line"` // of the file, from 1; 0 where it is not known
}

// shardWriter writes rows into files of a bounded number of rows, or nowhere when it has no folder. Every file is written under a temporary name and gets
// its own when it is complete and on disk.
type shardWriter struct {
	dir     string
	opts    TokeniseOptions
	names   []string
	refused problemList // rows that the encoder refuses: their shards are discarded

	file    *os.File
	out     *parquet.GenericWriter[shardRow]
	rows    int
	tokens  int64
	trained int64
}

func newShardWriter(dir string, opts TokeniseOptions) *shardWriter {
	return &shardWriter{dir: dir, opts: opts, refused: problemList{max: ReadOptions{}.withDefaults().MaxProblems}}
}

func (w *shardWriter) write(row shardRow, trained int) error {
	if w.refused.total > 0 || w.dir == "" {
		return nil
	}
	if w.out == nil {
		if err := w.start(); err != nil {
			return err
		}
	}
	if _, err := w.out.Write([]shardRow{row}); err != nil {
		return fmt.Errorf("write shard %s: %w", w.file.Name(), err)
	}
	w.rows++
	w.tokens += int64(len(row.InputIDs))
	w.trained += int64(trained)
	if w.rows == w.opts.RowsPerShard {
		return w.close()
	}
	return nil
}

func (w *shardWriter) start() error {
	if err := os.MkdirAll(w.dir, 0o755); err != nil {
		return fmt.Errorf("create folder of shards: %w", err)
	}
	name := fmt.Sprintf("shard-%05d.parquet", w.opts.FirstShard+len(w.names))
	file, err := os.Create(filepath.Join(w.dir, "."+name+".tmp"))
	if err != nil {
		return fmt.Errorf("create shard: %w", err)
	}
	w.file = file
	w.names = append(w.names, name)
	w.rows, w.tokens, w.trained = 0, 0, 0
	w.out = parquet.NewGenericWriter[shardRow](file, parquet.Compression(&zstd.Codec{}), parquet.CreatedBy("descant", shardFormat, ""),
		parquet.MaxRowsPerRowGroup(rowsPerGroup))
	return nil
}

// close completes the shard that is being written, if there is one.
func (w *shardWriter) close() error {
	if w.out == nil {
		return nil
	}
	for _, key := range sortedKeys(w.opts.Metadata) {
		w.out.SetKeyValueMetadata(key, w.opts.Metadata[key])
	}
	for _, kv := range [][2]string{
		{"descant.format", shardFormat},
		{"descant.loss_on", w.opts.LossOn},
		{"descant.max_length", strconv.Itoa(w.opts.MaxLength)},
		{"descant.truncation", w.opts.Truncation},
		{"descant.part", strconv.Itoa(w.opts.Part)},
		{"descant.rows", strconv.Itoa(w.rows)},
		{"descant.tokens", strconv.FormatInt(w.tokens, 10)},
		{"descant.trained_tokens", strconv.FormatInt(w.trained, 10)},
	} {
		w.out.SetKeyValueMetadata(kv[0], kv[1])
	}
	out, file := w.out, w.file
	w.out, w.file = nil, nil
	if err := out.Close(); err != nil {
		file.Close()
		return fmt.Errorf("write shard %s: %w", file.Name(), err)
	}
	if err := file.Sync(); err != nil {
		file.Close()
		return fmt.Errorf("sync shard %s: %w", file.Name(), err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("close shard %s: %w", file.Name(), err)
	}
	if err := os.Rename(file.Name(), filepath.Join(w.dir, w.names[len(w.names)-1])); err != nil {
		return fmt.Errorf("name shard: %w", err)
	}
	return nil
}

// discard removes everything that was written.
func (w *shardWriter) discard() {
	if w.file != nil {
		w.file.Close()
	}
	for _, name := range w.names {
		os.Remove(filepath.Join(w.dir, name))
		os.Remove(filepath.Join(w.dir, "."+name+".tmp"))
	}
}
