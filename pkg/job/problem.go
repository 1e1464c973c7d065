package job

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with a request, a hyper-parameter or a row of a dataset.
type Problem struct {
	// Field names the field as it is typed, or is empty when the whole input is meant.
	Field string `json:"field,omitempty"`
	// Line is the line of the dataset, from 1, or 0 when there is none.
	Line int `json:"line,omitempty"`
	// Found is the value that was found, shortened.
	Found string `json:"found,omitempty"`
	// Reason says why that is wrong.
	Reason string `json:"reason"`
	// Next says what to do about it.
	Next string `json:"next,omitempty"`
}

// Message is the reason with what was found.
func (p Problem) Message() string {
	if p.Found == "" {
		return p.Reason
	}
	return p.Reason + " (found " + p.Found + ")"
}

// String writes the problem as one line: place, reason, what was found and what to do.
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		fmt.Fprintf(&b, "line %d: ", p.Line)
	}
	if p.Field != "" {
		b.WriteString(p.Field)
		b.WriteString(": ")
	}
	b.WriteString(p.Message())
	if p.Next != "" {
		b.WriteString("; ")
		b.WriteString(p.Next)
	}
	return b.String()
}

// Problems is a list of problems as one error.
type Problems []Problem

// Error lists every problem, one a line after the first.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Err returns the list as an error, or nil when it is empty.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}
