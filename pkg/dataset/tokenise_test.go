package dataset

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// byteEncoder is an encoder of one id a byte: 300 + role before a turn, 299 behind it, which is trained for answers.
func byteEncoder(row Row) (ids []int32, answers []int, err error) {
	for _, b := range []byte(row.Text) {
		ids, answers = append(ids, int32(b)), append(answers, 0)
	}
	for i, m := range row.Messages {
		answer := NoAnswer
		if m.Role == "assistant" {
			answer = i
		}
		role := slices.Index(roles, m.Role)
		if m.Role == "tool" {
			return nil, nil, errors.New("this template has no tool turns")
		}
		ids, answers = append(ids, int32(300+role)), append(answers, NoAnswer)
		for _, b := range []byte(m.Content) {
			ids, answers = append(ids, int32(b)), append(answers, answer)
		}
		ids, answers = append(ids, 299), append(answers, answer)
	}
	return ids, answers, nil
}

func tokenise(t *testing.T, data string, opts TokeniseOptions) (*Result, *Shards, string) {
	t.Helper()
	dir := t.TempDir()
	result, err := Tokenise(t.Context(), NewReader(strings.NewReader(data), "rows.jsonl", ReadOptions{}), byteEncoder, dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, name := range result.Shards {
		paths = append(paths, filepath.Join(dir, name))
	}
	shards, err := OpenShards(paths)
	if err != nil {
		t.Fatal(err)
	}
	return result, shards, dir
}

func TestTokeniseLabels(t *testing.T) {
	t.Parallel()
	const row = `{"instruction":"a","input":"b","output":"cd"}`
	ids := []int32{302, 'a', '\n', 'b', 299, 303, 'c', 'd', 299}
	for _, c := range []struct {
		lossOn  string
		labels  []int32
		trained int64
	}{
		{LossFull, ids, 8},
		{LossCompletion, []int32{-100, -100, -100, -100, -100, -100, 'c', 'd', 299}, 3},
	} {
		result, shards, _ := tokenise(t, row, TokeniseOptions{LossOn: c.lossOn, Metadata: map[string]string{"descant.tokenizer": "sha256:x"}})
		gotIDs, gotLabels := shards.Row(0)
		if !slices.Equal(gotIDs, ids) || !slices.Equal(gotLabels, c.labels) {
			t.Errorf("%s: ids %v labels %v", c.lossOn, gotIDs, gotLabels)
		}
		all, trained := shards.Tokens()
		if result.Tokens != 9 || result.TrainedTokens != c.trained || all != 9 || trained != c.trained {
			t.Errorf("%s: %d/%d tokens, shards say %d/%d", c.lossOn, result.Tokens, result.TrainedTokens, all, trained)
		}
		if shards.Metadata("descant.loss_on") != c.lossOn || shards.Metadata("descant.tokenizer") != "sha256:x" {
			t.Errorf("metadata %v", shards.metadata)
		}
	}
}

func TestTokeniseTruncation(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100)
	data := fmt.Sprintf("{\"instruction\":\"a\",\"output\":\"b\"}\n\n{\"instruction\":\"q\",\"output\":%q}\n{\"instruction\":%q,\"output\":\"b\"}\n", long, long)
	for _, c := range []struct {
		lossOn, policy string
		rows           int64
		cut, left      string // lines
	}{
		{LossFull, KeepStart, 3, "3-4", ""},
		{LossCompletion, KeepStart, 2, "3", "4"}, // nothing of the answer of line 4 is left
		{LossCompletion, KeepEnd, 3, "3-4", ""},
		{LossFull, Drop, 1, "", "3-4"},
	} {
		result, shards, _ := tokenise(t, data, TokeniseOptions{LossOn: c.lossOn, Truncation: c.policy, MaxLength: 20})
		if result.Rows != c.rows || result.Truncated.Lines.String() != c.cut || result.LeftOut.Lines.String() != c.left {
			t.Errorf("%s %s: %d rows, cut %q, left out %q", c.lossOn, c.policy, result.Rows, result.Truncated.Lines, result.LeftOut.Lines)
		}
		for i := range shards.Len() {
			if ids, _ := shards.Row(i); len(ids) > 20 {
				t.Errorf("%s %s: row %d has %d tokens", c.lossOn, c.policy, i, len(ids))
			}
		}
		if notes := append(result.Truncated.Rows, result.LeftOut.Rows...); len(notes) > 0 && notes[0].Tokens != 105 {
			t.Errorf("the length of the whole row is %d, want 105", notes[0].Tokens)
		}
	}
}

func TestTokeniseBadDirLengths(t *testing.T) {
	t.Parallel()
	dir, cases := loadBad(t)
	for _, c := range cases {
		if n := c.File[:2]; n != "23" && n != "24" && n != "25" {
			continue
		}
		for _, lossOn := range []string{LossFull, LossCompletion} {
			f, err := os.Open(filepath.Join(dir, c.File))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			result, err := Tokenise(t.Context(), NewReader(f, c.File, ReadOptions{}), byteEncoder, t.TempDir(), TokeniseOptions{LossOn: lossOn, MaxLength: 1024})
			if err != nil {
				t.Fatal(err)
			}
			if !result.Truncated.Lines.Has(2) && !result.LeftOut.Lines.Has(2) || result.Truncated.Count+result.LeftOut.Count != 1 {
				t.Errorf("%s %s: line 2 was cut in silence", c.File, lossOn)
			}
		}
	}
}

func TestTokeniseSameBytes(t *testing.T) {
	t.Parallel()
	var sums [][]byte
	for _, workers := range []int{1, 7} {
		result, shards, dir := tokenise(t, string(sampleFile), TokeniseOptions{RowsPerShard: 60, Workers: workers, Metadata: map[string]string{"b": "2", "a": "1"}})
		if len(result.Shards) != 3 || shards.Len() != 162 {
			t.Fatalf("%d rows in %v", shards.Len(), result.Shards)
		}
		var all []byte
		for _, name := range result.Shards {
			data, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, data...)
		}
		sums = append(sums, all)
		for i, row := range Sample() {
			want, _, _ := byteEncoder(row)
			if ids, _ := shards.Row(i); !slices.Equal(ids, want[:min(len(want), 1024)]) || shards.Index(i) != i {
				t.Fatalf("row %d is not in its place", i)
			}
		}
		if result.Lengths != shards.Lengths() {
			t.Errorf("lengths %+v, shards say %+v", result.Lengths, shards.Lengths())
		}
	}
	if !bytes.Equal(sums[0], sums[1]) {
		t.Error("other bytes with more workers")
	}
}

func TestTokeniseRefusals(t *testing.T) {
	t.Parallel()
	const good = `{"instruction":"a","output":"b"}` + "\n"
	const tool = `{"messages":[{"role":"user","content":"a"},{"role":"tool","content":"c"},{"role":"assistant","content":"b"}]}` + "\n"
	for _, c := range []struct{ name, data, lines, says string }{
		{"bad row", good + "{}\n" + good, "2", "missing"},
		{"refused by the template", good + tool + good + tool, "2, 4", "no tool turns"},
		{"both", tool + strings.Repeat(good, 100) + "{}\n", "1, 102", "no tool turns"},
		{"all too long", strings.Repeat("{\"instruction\":\"a\",\"output\":\"bbbbbbbbbbbbbbbbbbbbbbb\"}\n", 3), "", "max_length"},
	} {
		dir := t.TempDir()
		_, err := Tokenise(t.Context(), NewReader(strings.NewReader(c.data), "x", ReadOptions{}), byteEncoder, dir,
			TokeniseOptions{MaxLength: 20, Truncation: Drop, RowsPerShard: 1, Workers: 1})
		var bad *ValidationError
		if !errors.As(err, &bad) || bad.Lines.String() != c.lines || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: %v was left behind", c.name, left)
		}
	}
}

func TestTokeniseCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	dir := t.TempDir()
	encode := func(row Row) ([]int32, []int, error) {
		cancel(stop)
		return byteEncoder(row)
	}
	if _, err := Tokenise(ctx, NewReader(&generated{rows: math.MaxInt}, "endless", ReadOptions{}), encode, dir, TokeniseOptions{}); !errors.Is(err, stop) {
		t.Errorf("error %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%v was left behind", left)
	}
}

// TestTokeniseManyRows: memory does not grow with the number of rows, and progress is visible.
func TestTokeniseManyRows(t *testing.T) {
	const rows = 100_000
	in := &generated{rows: rows}
	var peak uint64
	calls := 0
	opts := TokeniseOptions{RowsPerShard: 30_000, Progress: func(p Progress) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapAlloc)
		calls++
		t.Logf("%d rows: heap %d MiB", p.Rows, m.HeapAlloc>>20)
	}}
	dir := t.TempDir()
	result, err := Tokenise(t.Context(), NewReader(in, "many.jsonl", ReadOptions{}), byteEncoder, dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	if result.Rows != rows || len(result.Shards) != 4 || calls < 2 {
		t.Errorf("%d rows in %d shards, %d calls of progress", result.Rows, len(result.Shards), calls)
	}
	if peak > 64<<20 {
		t.Errorf("the heap grew to %d MiB", peak>>20)
	}
	var paths []string
	for _, name := range result.Shards {
		paths = append(paths, filepath.Join(dir, name))
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	shards, err := OpenShards(paths)
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 6<<20 || result.Tokens < 1_500_000 {
		t.Errorf("%d rows with %d tokens take %d KiB of memory", shards.Len(), result.Tokens, grown>>10)
	}
	order := shards.Order(1, 0)
	if i := order[77_777]; shards.Index(i) != i {
		t.Errorf("row %d is row %d of the file", i, shards.Index(i))
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != len(paths) {
		t.Errorf("beside the shards there is %v, %v", left, err)
	}
}

// generated is a file of short rows that are made while it is read.
type generated struct {
	rows, i int
	rest    []byte
}

func (g *generated) Read(p []byte) (int, error) {
	for len(g.rest) == 0 {
		if g.i == g.rows {
			return 0, io.EOF
		}
		g.i++
		g.rest = fmt.Appendf(g.rest[:0], "{\"instruction\":\"%d+%d\",\"input\":\"\",\"output\":\"%d\"}\n", g.i, g.i%97, g.i+g.i%97)
	}
	n := copy(p, g.rest)
	g.rest = g.rest[n:]
	return n, nil
}

func TestOpenShardsRefusals(t *testing.T) {
	t.Parallel()
	_, _, a := tokenise(t, `{"instruction":"a","output":"b"}`, TokeniseOptions{})
	_, _, b := tokenise(t, `{"instruction":"a","output":"b"}`, TokeniseOptions{LossOn: LossCompletion})
	first, other := filepath.Join(a, "shard-00000.parquet"), filepath.Join(b, "shard-00000.parquet")
	data, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.parquet")
	if err := os.WriteFile(cut, data[:len(data)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	for _, paths := range [][]string{nil, {cut}, {first, other}, {filepath.Join(a, "no.parquet")}} {
		if s, err := OpenShards(paths); err == nil {
			t.Errorf("%v was opened with %d rows", paths, s.Len())
		}
	}
}

func TestOrder(t *testing.T) {
	t.Parallel()
	if got := Order(8, 42, 0); !reflect.DeepEqual(got, wantOrder) {
		t.Errorf("the order of seed 42 has changed: %v", got)
	}
	seen := map[string]bool{}
	for seed := range int64(4) {
		for epoch := range 4 {
			order := Order(50, seed, epoch)
			seen[fmt.Sprint(order)] = true
			slices.Sort(order)
			for i, row := range order {
				if row != i {
					t.Fatalf("seed %d epoch %d is no permutation", seed, epoch)
				}
			}
		}
	}
	if len(seen) != 16 {
		t.Errorf("%d different orders of 16", len(seen))
	}
	train, test := Split(10, 3, 1)
	if all := append(slices.Clone(train), test...); len(train) != 7 || len(test) != 3 || !slices.IsSorted(test) {
		t.Errorf("split %v", all)
	}
	if train, test := Split(3, 3, 1); len(train) != 3 || len(test) != 0 {
		t.Errorf("split %v %v", train, test)
	}
}

// wantOrder was computed by another program from the text of Order's documentation.
var wantOrder = []int{3, 6, 0, 4, 7, 1, 2, 5}
