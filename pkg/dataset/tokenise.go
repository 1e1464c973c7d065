package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"sync"
	"time"
)

// IgnoreLabel marks a position that is not trained, as in PyTorch's cross-entropy.
const IgnoreLabel = -100

// Encode renders a row and returns its token ids, and for each id the index of the message whose answer it belongs to
// (the end-of-turn token included), or NoAnswer. All ids of a plain text belong to answer 0. It is called by several
// goroutines.
type Encode func(row Row) (ids []int32, answers []int, err error)

// NoAnswer stands for tokens that are in no answer of the assistant.
const NoAnswer = -1

// The values of TokeniseOptions.LossOn and TokeniseOptions.Truncation.
const (
	LossFull       = "full"       // every token is trained
	LossCompletion = "completion" // only answers are trained
	LossLastTurn   = "last_turn"  // only the last answer is trained

	KeepStart = "keep_start" // cut the end of a long row
	KeepEnd   = "keep_end"   // cut the start of a long row
	Drop      = "drop"       // leave a long row out
	Refuse    = "error"      // a long row is a problem of the dataset
)

// TokeniseOptions say how rows become ids and labels.
type TokeniseOptions struct {
	// LossOn is "full", "completion" or "last_turn". Defaults to "full".
	LossOn string
	// MaxLength is the number of tokens of the longest row. Defaults to 1024.
	MaxLength int
	// Truncation says what happens to longer rows: "keep_start", "keep_end", "drop" or "error". Defaults to "keep_start".
	Truncation string
	// RowsPerShard is the number of rows in a shard. Defaults to 50000.
	RowsPerShard int
	// Weight is how often every row is written: 2 is twice, 0.5 a half of the rows, chosen by Seed. Defaults to 1.
	Weight float64
	Seed   int64
	// FirstRow is added to the index of every row, FirstShard to the number in the names of the shards, where several
	// datasets go into one folder.
	FirstRow   int64
	FirstShard int
	// Part is the number of the dataset among several, from 0; the shards hold it.
	Part int
	// Workers is the number of rows that are encoded at the same time. Defaults to the number of processors.
	Workers int
	// Metadata is written into every shard; digests of the tokenizer, the template and the options belong here.
	Metadata map[string]string
	// Each is called with every row that was read, in order, by one goroutine; may be nil.
	Each func(Row)
	// Progress is called about four times a second and at the end; may be nil.
	Progress func(Progress)
}

// Progress says how far tokenising is. The number of all rows is not known before the end; Bytes lets a caller who knows
// the size of the file show a share.
type Progress struct {
	Rows, Tokens int64
	// Bytes is how much of the raw file was read.
	Bytes   int64
	Elapsed time.Duration
	Done    bool
}

// Result says what tokenising made.
type Result struct {
	// Shards are the names of the files in the folder, in order.
	Shards []string `json:"shards"`
	// Rows is the number of rows in the shards, Tokens and TrainedTokens count theirs after cutting. A token counts as
	// trained when a loss is computed for it; the first of a row never is, since nothing predicts it. A row that the weight
	// of its dataset repeats counts as often.
	Rows          int64 `json:"rows"`
	Tokens        int64 `json:"tokens"`
	TrainedTokens int64 `json:"trained_tokens"`
	// AnswerTokens are the tokens of answers in the shards, which is what loss_on "completion" trains.
	AnswerTokens int64 `json:"answer_tokens"`
	// Lengths are those of the rows in the shards, WholeLengths those of all rows before cutting.
	Lengths      Lengths `json:"lengths"`
	WholeLengths Lengths `json:"whole_lengths"`
	// NotChosen is the number of rows that a weight below 1 leaves out.
	NotChosen int64 `json:"not_chosen,omitempty"`
	// Truncated are rows that were cut, LeftOut rows that are in no shard though they could be read.
	Truncated Notes `json:"truncated"`
	LeftOut   Notes `json:"left_out"`
	// Report is that of reading.
	Report Report `json:"report"`
}

func (o TokeniseOptions) withDefaults() TokeniseOptions {
	if o.LossOn == "" {
		o.LossOn = LossFull
	}
	if o.MaxLength == 0 {
		o.MaxLength = 1024
	}
	if o.Truncation == "" {
		o.Truncation = KeepStart
	}
	if o.Weight == 0 {
		o.Weight = 1
	}
	if o.RowsPerShard <= 0 {
		o.RowsPerShard = 50_000
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return o
}

func (o TokeniseOptions) validate() error {
	switch {
	case !slices.Contains([]string{LossFull, LossCompletion, LossLastTurn}, o.LossOn):
		return fmt.Errorf("loss_on is %q; use %q, %q or %q", o.LossOn, LossFull, LossCompletion, LossLastTurn)
	case !(o.Weight > 0):
		return fmt.Errorf("weight is %g; use a number above 0", o.Weight)
	case o.MaxLength < 2:
		return fmt.Errorf("max_length is %d; use at least 2", o.MaxLength)
	case !slices.Contains([]string{KeepStart, KeepEnd, Drop, Refuse}, o.Truncation):
		return fmt.Errorf("truncation is %q; use %q, %q, %q or %q", o.Truncation, KeepStart, KeepEnd, Drop, Refuse)
	}
	return nil
}

// encoded is a row on its way from a worker to the shard, in the order of the file.
type encoded struct {
	row     Row
	ids     []int32
	answers []int
	err     error
	ready   chan struct{}
}

// Tokenise reads all rows, encodes them on several processors and writes them in their order into shards in dir, in memory
// bounded by the number of workers and the size of a row group. The same file and options give the same bytes. When rows
// are bad, also in the eyes of encode, the error is a *ValidationError with all problems, and no shard is left behind.
// An empty dir writes nothing: the rows are only checked and measured.
func Tokenise(ctx context.Context, rows *Reader, encode Encode, dir string, opts TokeniseOptions) (*Result, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("tokenise %s: %w", rows.report.File, err)
	}
	t := &tokeniser{opts: opts, rows: rows, out: newShardWriter(dir, opts), started: time.Now()}
	err := t.run(ctx, encode)
	if err == nil {
		err = t.out.close()
	}
	if err != nil {
		t.out.discard()
		return nil, err
	}
	t.progress(true)
	t.result.Shards = t.out.names
	t.result.Lengths, t.result.WholeLengths = t.lengths.summary(), t.whole.summary()
	t.result.Report = *rows.Report()
	return &t.result, nil
}

type tokeniser struct {
	opts    TokeniseOptions
	rows    *Reader
	out     *shardWriter
	result  Result
	lengths histogram
	whole   histogram
	started time.Time
	shown   time.Time
}

// run starts the workers, feeds them, and takes their results in order.
func (t *tokeniser) run(ctx context.Context, encode Encode) error {
	ctx, cancel := context.WithCancel(ctx)
	work := make(chan *encoded)
	order := make(chan *encoded, 4*t.opts.Workers)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for range t.opts.Workers {
		wg.Go(func() {
			for e := range work {
				e.ids, e.answers, e.err = encode(e.row)
				close(e.ready)
			}
		})
	}
	var readErr error
	wg.Go(func() {
		defer close(order)
		defer close(work)
		readErr = t.feed(ctx, work, order)
	})
	for e := range order {
		select {
		case <-e.ready:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := t.take(e); err != nil {
			return err
		}
	}
	var bad *ValidationError
	if errors.As(readErr, &bad) {
		bad.merge(&t.out.refused)
	}
	if !errors.Is(readErr, io.EOF) {
		return readErr
	}
	return t.verdict()
}

// feed reads rows and hands them to the workers until the file ends. It returns how the reading ended: io.EOF is well.
func (t *tokeniser) feed(ctx context.Context, work, order chan<- *encoded) error {
	for {
		row, err := t.rows.Next()
		if err != nil {
			return err
		}
		if t.rows.Failed() { // read on only to find the other problems
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			continue
		}
		if t.opts.Each != nil {
			t.opts.Each(row)
		}
		e := &encoded{row: row, ready: make(chan struct{})}
		for _, to := range []chan<- *encoded{order, work} {
			select {
			case to <- e:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

// take labels and writes one row.
func (t *tokeniser) take(e *encoded) error {
	if e.err != nil {
		t.out.refused.add(templateProblem(e.row, e.err))
		return nil //nolint:nilerr // the row is refused, the dataset goes on
	}
	if len(e.ids) != len(e.answers) {
		return fmt.Errorf("tokenise %s: the encoder gave %d ids and answers of %d", e.row.Where(), len(e.ids), len(e.answers))
	}
	note := RowNote{Line: e.row.Line, Row: e.row.Place, Reason: ReasonTooLong, Tokens: len(e.ids)}
	t.whole.add(len(e.ids))
	l := t.opts.label(e.row, e.ids, e.answers)
	switch {
	case l.LeftOut == ReasonTooLong && t.opts.Truncation == Refuse:
		t.out.refused.add(tooLongRow(e.row, note.Tokens, t.opts.MaxLength))
		return nil
	case l.LeftOut != "":
		note.Reason = l.LeftOut
		t.result.LeftOut.add(note)
		return nil
	case l.Cut:
		t.result.Truncated.add(note)
	}
	e.ids, e.answers = l.IDs, l.answers
	t.progress(false)
	times := t.opts.times(e.row.Index)
	if times == 0 {
		t.result.NotChosen++
	}
	for range times {
		if err := t.write(e, l.Labels, l.Trained); err != nil {
			return err
		}
	}
	return nil
}

func templateProblem(row Row, err error) Problem {
	return Problem{Code: CodeTemplate, Line: row.Line, Row: row.Place,
		Found: "the row can't be rendered: " + err.Error(), Hint: "change the turns to what the chat template of the base model allows"}
}

// write puts a row into the shards and counts it.
func (t *tokeniser) write(e *encoded, labels []int32, trained int) error {
	t.lengths.add(len(e.ids))
	for i, answer := range e.answers {
		if answer != NoAnswer && i > 0 {
			t.result.AnswerTokens++
		}
	}
	t.result.Rows++
	t.result.Tokens += int64(len(e.ids))
	t.result.TrainedTokens += int64(trained)
	return t.out.write(shardRow{InputIDs: e.ids, Labels: labels, Row: t.opts.FirstRow + int64(e.row.Index), Line: int64(e.row.place())}, trained)
}

// tooLongRow is the problem of a row that truncation "error" refuses.
func tooLongRow(row Row, tokens, limit int) Problem {
	return Problem{Code: CodeTooLong, Line: row.Line, Row: row.Place,
		Found: fmt.Sprintf("the row has %d tokens, more than max_length %d", tokens, limit), Hint: "shorten the row, raise max_length, or choose another truncation"}
}

// times is how often a row is written: the whole part of the weight, and once more for the share of the rows that its
// fraction names. Which rows those are depends on the seed and the row alone.
func (o TokeniseOptions) times(row int) int {
	whole, fraction := math.Modf(o.Weight)
	times := int(whole)
	if share := float64(mix(mix(mix(uint64(o.Seed))^weightStream)+uint64(row))>>11) / (1 << 53); share < fraction {
		times++
	}
	return times
}

// Chosen says whether a row is written at all: a weight below 1 leaves rows out.
func (o TokeniseOptions) Chosen(row int) bool { return o.withDefaults().times(row) > 0 }

// weightStream keeps the choice of rows by weight apart from the other uses of the seed.
const weightStream = 0x776569676874 // "weight"

// window is the part [from, to) of a row of n tokens that is kept; from == to when the row is left out or refused.
func (o TokeniseOptions) window(n int) (from, to int) {
	switch {
	case n <= o.MaxLength || n == 0:
		return 0, n
	case o.Truncation == KeepStart:
		return 0, o.MaxLength
	case o.Truncation == KeepEnd:
		return n - o.MaxLength, n
	}
	return n, n
}

// labels are the ids where they are trained. The count leaves the first position out: nothing predicts it.
func (o TokeniseOptions) labels(row Row, ids []int32, answers []int) (labels []int32, trained int) {
	labels = make([]int32, len(ids))
	last := max(len(row.Messages)-1, 0)
	train := func(answer int) bool {
		switch {
		case row.Weights != nil:
			return answer != NoAnswer && row.Weights[answer]
		case o.LossOn == LossCompletion:
			return answer != NoAnswer
		case o.LossOn == LossLastTurn:
			return answer == last
		}
		return true
	}
	for i, id := range ids {
		labels[i] = IgnoreLabel
		if train(answers[i]) {
			labels[i] = id
			if i > 0 {
				trained++
			}
		}
	}
	return labels, trained
}

// Labelled is a row as it is trained.
type Labelled struct {
	// IDs and Labels are of equal length, at most MaxLength. Trained is the number of tokens with a loss.
	IDs, Labels []int32
	Trained     int
	// Cut says that the row was longer.
	Cut bool
	// LeftOut says why Tokenise leaves the row out: ReasonTooLong (there are no IDs then), ReasonNothing, or "".
	LeftOut Reason

	answers []int
}

// Label cuts and labels a row that was encoded, under the rules of Tokenise. A row that truncation "error" refuses is an
// error, which [Reader.Refuse] takes.
func Label(row Row, ids []int32, answers []int, opts TokeniseOptions) (Labelled, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return Labelled{}, err
	}
	l := opts.label(row, ids, answers)
	if l.LeftOut == ReasonTooLong && opts.Truncation == Refuse {
		return l, &RowError{tooLongRow(row, len(ids), opts.MaxLength)}
	}
	return l, nil
}

func (o TokeniseOptions) label(row Row, ids []int32, answers []int) Labelled {
	from, to := o.window(len(ids))
	if from == to {
		return Labelled{LeftOut: ReasonTooLong}
	}
	l := Labelled{IDs: ids[from:to], answers: answers[from:to], Cut: to-from < len(ids)}
	if l.Labels, l.Trained = o.labels(row, l.IDs, l.answers); l.Trained == 0 {
		l.LeftOut = ReasonNothing
	}
	return l
}

// Use is what training does with one token of a row.
type Use string

// The uses of a token.
const (
	UseTrained Use = "trained" // its loss is trained
	UseContext Use = "context" // it is only read
	UseCut     Use = "cut"     // it is not in the shard, as the row is longer than max_length
)

// Uses says what training does with each token of a row that was encoded, under the rules of Tokenise.
func Uses(row Row, ids []int32, answers []int, opts TokeniseOptions) ([]Use, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	uses := slices.Repeat([]Use{UseCut}, len(ids))
	from, to := opts.window(len(ids))
	labels, _ := opts.labels(row, ids[from:to], answers[from:to])
	for i, label := range labels {
		uses[from+i] = UseContext
		if label != IgnoreLabel && i > 0 {
			uses[from+i] = UseTrained
		}
	}
	return uses, nil
}

// verdict is the error after all rows were read well.
func (t *tokeniser) verdict() error {
	if err := t.out.refused.err(t.rows.report.File, int(t.result.Rows)); err != nil {
		return err
	}
	if t.result.Rows > 0 {
		return nil
	}
	list := problemList{max: 1}
	if n := t.result.NotChosen; n > 0 {
		list.add(Problem{Code: CodeNoRows, Found: fmt.Sprintf("no row is left to train: the weight %g chooses none of %d rows", t.opts.Weight, n), Hint: "raise the weight"})
		return list.err(t.rows.report.File, 0)
	}
	list.add(Problem{Code: CodeNoRows, Found: fmt.Sprintf("no row is left to train: all %d are longer than max_length %d (lines %s)",
		t.result.LeftOut.Count, t.opts.MaxLength, t.result.LeftOut.Lines), Hint: "raise max_length or shorten the rows"})
	return list.err(t.rows.report.File, 0)
}

func (t *tokeniser) progress(done bool) {
	now := time.Now()
	if t.opts.Progress == nil || !done && now.Sub(t.shown) < 250*time.Millisecond {
		return
	}
	t.shown = now
	t.opts.Progress(Progress{Rows: t.result.Rows, Tokens: t.result.Tokens, Bytes: t.rows.raw.count.Load(), Elapsed: now.Sub(t.started), Done: done})
}

// IsInvalid says whether an error is about the content of a dataset, and so the user's to mend.
func IsInvalid(err error) bool {
	var bad *ValidationError
	return errors.As(err, &bad)
}
