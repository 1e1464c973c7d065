package report

import (
	"cmp"
	"slices"
	"time"
)

// Text is a text of the page in both of its languages.
type Text struct{ En, Zh string }

// Same is a text that needs no translation: a name, a number, a digest.
func Same(text string) Text { return Text{text, text} }

// Point is one logged step.
type Point struct {
	// Step counts from 1; Time is when it was logged.
	Step int
	Time time.Time
	// Loss is the mean over the trained tokens, in nats; GradNorm is before clipping.
	Loss, LR, GradNorm float64
	// TokensPerSecond is that of the latest steps, Epoch the passes over the dataset so far.
	TokensPerSecond, Epoch float64
}

// Eval is one evaluation.
type Eval struct {
	// Step is the number of steps done before it.
	Step int
	Time time.Time
	// Loss is the mean over the evaluated tokens, in nats.
	Loss float64
}

// Fact is one line of a table.
type Fact struct {
	Name  Text
	Value string
}

// Section is a table of facts.
type Section struct {
	Title Text
	Facts []Fact
}

// Run is all that a report shows.
type Run struct {
	// Name is the title.
	Name string
	// Points are the logged steps and Evals the evaluations, in the order of their steps.
	Points []Point
	Evals  []Eval
	// Summary are a few facts for the top of the page.
	Summary []Fact
	// Sections are tables below the plots.
	Sections []Section
	Warnings []string
}

// History collects logged steps and evaluations. A step that is told again, by a run that went on from a checkpoint,
// replaces the earlier one, and so does an evaluation.
type History struct {
	points map[int]Point
	evals  map[int]Eval
}

// Add takes a step.
func (h *History) Add(p Point) {
	if h.points == nil {
		h.points = map[int]Point{}
	}
	h.points[p.Step] = p
}

// AddEval takes an evaluation.
func (h *History) AddEval(e Eval) {
	if h.evals == nil {
		h.evals = map[int]Eval{}
	}
	h.evals[e.Step] = e
}

// Points are the steps in order.
func (h *History) Points() []Point {
	return sorted(h.points, func(p Point) int { return p.Step })
}

// Evals are the evaluations in order.
func (h *History) Evals() []Eval {
	return sorted(h.evals, func(e Eval) int { return e.Step })
}

func sorted[T any](all map[int]T, step func(T) int) []T {
	list := make([]T, 0, len(all))
	for _, v := range all {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(step(a), step(b)) })
	return list
}
