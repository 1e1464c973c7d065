package dataset

import (
	"errors"
	"hash/maphash"
	"io"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// LeakCheck finds rows of an evaluation dataset in a training dataset. Two texts count as the same when they agree in
// their letters and digits, whatever their case, width, white space and punctuation.
type LeakCheck struct {
	seed      maphash.Seed
	most      int            // evaluation rows that are kept, 0 for all
	rows      map[uint64]int // digest → place in the evaluation dataset
	questions map[uint64]int
	leaked    map[int]bool
	result    Leak
}

// Leak says how much of an evaluation dataset is in a training dataset: a loss on such rows measures memory.
type Leak struct {
	// File and Rows are those of the evaluation dataset.
	File string `json:"file"`
	Rows int    `json:"rows"`
	// SameRow counts training rows that an evaluation row repeats; SameQuestion those that share only the conversation
	// up to the last turn of the user.
	SameRow      int `json:"same_row"`
	SameQuestion int `json:"same_question"`
	// Leaked is the number of evaluation rows that are concerned.
	Leaked int `json:"leaked"`
	// NotCompared evaluation rows came behind the most that are compared.
	NotCompared int `json:"not_compared,omitempty"`
	// Pairs are the first 100 training rows.
	Pairs []LeakPair `json:"pairs,omitempty"`
}

// LeakPair is a training row and the evaluation row that it gives away, by line, in arrays and tables by row.
type LeakPair struct {
	Train int `json:"train"`
	Eval  int `json:"eval"`
	// Answer says that the answer is the same, too.
	Answer bool `json:"answer"`
	// File is the training dataset, where there are several.
	File string `json:"file,omitempty"`
}

// NewLeakCheck reads an evaluation dataset to its end; its memory grows with the number of its rows. The error is a
// *ValidationError when the dataset is bad.
func NewLeakCheck(eval *Reader) (*LeakCheck, error) {
	l := StartLeakCheck(eval.report.File, 0)
	for {
		row, err := eval.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		l.Add(row)
	}
	return l, nil
}

// StartLeakCheck begins a check to which the evaluation rows of a file are added one by one; the first `most` of them are
// compared, or all if it is 0.
func StartLeakCheck(file string, most int) *LeakCheck {
	return &LeakCheck{seed: maphash.MakeSeed(), most: most, rows: map[uint64]int{}, questions: map[uint64]int{}, leaked: map[int]bool{}, result: Leak{File: file}}
}

// Add takes an evaluation row; all of them come before the first training row.
func (l *LeakCheck) Add(row Row) {
	l.result.Rows++
	if l.most > 0 && l.result.Rows > l.most {
		l.result.NotCompared++
		return
	}
	whole, question := l.digests(row)
	for _, at := range []struct {
		of  map[uint64]int
		sum uint64
	}{{l.rows, whole}, {l.questions, question}} {
		if _, ok := at.of[at.sum]; !ok {
			at.of[at.sum] = row.place()
		}
	}
}

// See compares a training row.
func (l *LeakCheck) See(row Row) { l.SeeIn("", row) }

// SeeIn compares a training row of one file among several.
func (l *LeakCheck) SeeIn(file string, row Row) {
	whole, question := l.digests(row)
	eval, same := l.rows[whole]
	if !same {
		var ok bool
		if eval, ok = l.questions[question]; !ok {
			return
		}
		l.result.SameQuestion++
	} else {
		l.result.SameRow++
	}
	l.leaked[eval] = true
	if len(l.result.Pairs) < maxListed {
		l.result.Pairs = append(l.result.Pairs, LeakPair{Train: row.place(), Eval: eval, Answer: same, File: file})
	}
}

// Result is what was found so far.
func (l *LeakCheck) Result() *Leak {
	found := l.result
	found.Leaked = len(l.leaked)
	return &found
}

// digests are those of the whole conversation and of what comes before the last answer, without system turns: they are
// often equal in all rows and often left out in one of two datasets.
func (l *LeakCheck) digests(row Row) (whole, question uint64) {
	last := 0
	for i, m := range row.Messages {
		if m.Role == "user" {
			last = i
		}
	}
	var h maphash.Hash
	h.SetSeed(l.seed)
	h.WriteString(letters(row.Text))
	question = h.Sum64() ^ 1 // a plain text has no question that could be the same
	for i, m := range row.Messages {
		if m.Role != "system" {
			h.WriteString(m.Role)
			h.WriteByte(0xff)
			h.WriteString(letters(m.Content))
			h.WriteByte(0xff)
			h.Write(m.ToolCalls)
			h.WriteByte(0xff)
		}
		if i == last {
			question = h.Sum64()
		}
	}
	return h.Sum64(), question
}

// letters is a text without what does not count. A text of nothing else stays as it is.
func letters(text string) string {
	kept := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r) || unicode.IsSymbol(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, norm.NFKC.String(text))
	if kept == "" {
		return text
	}
	return kept
}
