package dataset

import (
	"fmt"
	"sort"
	"strings"
)

// maxListed bounds the rows that a report lists one by one; the counts are always exact.
const maxListed = 100

// Reason says why a readable row is not trained, or not as a whole.
type Reason string

// The reasons. The first three come from reading, the others from tokenising.
const (
	ReasonEmptyAnswer Reason = "empty_answer"      // the answer is empty or white space
	ReasonEmptyPrompt Reason = "empty_prompt"      // the instruction or a user turn is empty or white space
	ReasonNoWeight    Reason = "no_weight"         // every turn has the weight 0
	ReasonTooLong     Reason = "longer_than_max"   // cut, or left out, as the truncation policy says
	ReasonNothing     Reason = "no_trained_tokens" // nothing of the answer is left within max_length
)

// RowNote is a row that was left out or cut.
type RowNote struct {
	Line   int    `json:"line"`
	Row    int    `json:"row,omitempty"`
	Reason Reason `json:"reason"`
	// Field is the empty field; empty for notes of tokenising.
	Field string `json:"field,omitempty"`
	// Tokens is the length of the whole row; 0 for notes of reading.
	Tokens int `json:"tokens,omitempty"`
}

// String is the note in words.
func (n RowNote) String() string {
	s := where(n.Line, n.Row) + ": "
	switch n.Reason {
	case ReasonEmptyAnswer, ReasonEmptyPrompt:
		return s + fmt.Sprintf("%q is empty", n.Field)
	case ReasonNoWeight:
		return s + "every turn has the weight 0"
	case ReasonNothing:
		return s + fmt.Sprintf("no trained token is left of %d tokens", n.Tokens)
	}
	return s + fmt.Sprintf("%d tokens", n.Tokens)
}

// Notes counts rows by reason and lists the first of them.
type Notes struct {
	Count   int            `json:"count"`
	Reasons map[Reason]int `json:"reasons,omitempty"`
	// Rows are the first 100 rows.
	Rows []RowNote `json:"rows,omitempty"`
	// Lines are the lines of all rows (at most 1000 runs of lines).
	Lines Lines `json:"lines,omitempty"`
}

func (n *Notes) add(note RowNote) {
	n.Count++
	if n.Reasons == nil {
		n.Reasons = map[Reason]int{}
	}
	n.Reasons[note.Reason]++
	n.Lines.add(counted(note.Line, note.Row))
	if len(n.Rows) < maxListed {
		n.Rows = append(n.Rows, note)
	}
}

// Report says what was read: what is in the file, and everything about it that a user should know though it is no
// error. It is complete when the reader has reached the end.
type Report struct {
	// File is the name under which the dataset was given.
	File string `json:"file"`
	// Bytes and Digest ("sha256:…") are those of the raw file, packed if it is packed.
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
	// Format is what the content was recognised as; Packed is gzip or zstd when that was in it.
	Format Format `json:"format"`
	Packed Format `json:"packed,omitempty"`
	// Rows is the number of rows that can be trained.
	Rows int `json:"rows"`
	// Shapes counts the rows by their shape.
	Shapes map[Shape]int `json:"shapes,omitempty"`
	// UnknownKeys counts keys that mean nothing for training.
	UnknownKeys map[string]int `json:"unknown_keys,omitempty"`
	// LeftOut are rows that are well formed but have nothing to train on.
	LeftOut Notes `json:"left_out"`
	// Repeats is the number of rows that are equal to an earlier one; they are kept.
	Repeats int `json:"repeats,omitempty"`
	// RepeatedRows are the first 100 of them.
	RepeatedRows []Repeat `json:"repeated_rows,omitempty"`
	// NotCompared is the number of rows that no later row was compared with: only the first 2^20 different ones are.
	NotCompared int `json:"not_compared,omitempty"`
	// Weighted is the number of rows that say themselves which turns are trained; loss_on does not apply to them.
	Weighted int `json:"weighted,omitempty"`
	// BlankLines is the number of blank lines between rows of a JSONL file.
	BlankLines int `json:"blank_lines,omitempty"`
	// Remarks are further things in words, such as a byte order mark that was skipped.
	Remarks []string `json:"remarks,omitempty"`
}

// Repeat is a row that is equal to an earlier one. Both are counted by lines, in arrays and tables by rows.
type Repeat struct {
	Place int `json:"place"`
	First int `json:"first"`
}

func (r *Report) repeat(place, first int) {
	r.Repeats++
	if len(r.RepeatedRows) < maxListed {
		r.RepeatedRows = append(r.RepeatedRows, Repeat{place, first})
	}
}

// maxUnknown bounds the number of different unknown keys that are counted.
const maxUnknown = 200

func (r *Report) unknown(key string) {
	if r.UnknownKeys == nil {
		r.UnknownKeys = map[string]int{}
	}
	if _, ok := r.UnknownKeys[key]; !ok && len(r.UnknownKeys) >= maxUnknown {
		key = "(other keys)"
	}
	r.UnknownKeys[key]++
}

func (r *Report) remark(format string, args ...any) {
	r.Remarks = append(r.Remarks, fmt.Sprintf(format, args...))
}

// Text is the report in a few lines for a person; warnings only, empty when there is nothing to say.
func (r *Report) Text() string {
	var b strings.Builder
	if r.LeftOut.Count > 0 {
		fmt.Fprintf(&b, "left out %d rows (lines %s):", r.LeftOut.Count, r.LeftOut.Lines)
		for _, reason := range sortedKeys(r.LeftOut.Reasons) {
			fmt.Fprintf(&b, " %s %d", reason, r.LeftOut.Reasons[reason])
		}
		b.WriteByte('\n')
	}
	if len(r.UnknownKeys) > 0 {
		b.WriteString("keys that are not used:")
		for _, key := range sortedKeys(r.UnknownKeys) {
			fmt.Fprintf(&b, " %q %d", key, r.UnknownKeys[key])
		}
		b.WriteByte('\n')
	}
	if r.Repeats > 0 {
		fmt.Fprintf(&b, "%d rows repeat an earlier row; they are kept", r.Repeats)
		for i, repeat := range r.RepeatedRows[:min(len(r.RepeatedRows), 10)] {
			fmt.Fprintf(&b, "%s %d (= %d)", map[bool]string{true: ":", false: ","}[i == 0], repeat.Place, repeat.First)
		}
		if r.Repeats > 10 {
			b.WriteString(", …")
		}
		b.WriteByte('\n')
	}
	if r.NotCompared > 0 {
		fmt.Fprintf(&b, "repeats of the last %d rows among themselves are not looked for\n", r.NotCompared)
	}
	if r.Weighted > 0 {
		fmt.Fprintf(&b, "%d rows say by weights which turns are trained; loss_on does not apply to them\n", r.Weighted)
	}
	for _, s := range r.Remarks {
		b.WriteString(s + "\n")
	}
	return b.String()
}

func sortedKeys[K ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i] < keys[j] })
	return keys
}
