package trainer

import (
	"fmt"
	"strconv"
	"strings"

	"descant/pkg/job"
	"descant/pkg/train"
)

// mostNamed bounds the rows that an error lists one by one.
const mostNamed = 50

// divergence tells a person where a training diverged: the step, every row of the batch and how to go on. checkpoint is
// the key of the newest one, or "".
func divergence(spec job.Spec, checkpoint string, found *train.NotFiniteError) error {
	problems := make([]job.Problem, 0, len(found.Rows))
	for _, place := range found.Rows[:min(len(found.Rows), mostNamed)] {
		problems = append(problems, job.Problem{Field: "row " + rowName(spec, place), Line: place.Line, Reason: fmt.Sprintf("is in the batch of step %d", found.Step)})
	}
	if more := len(found.Rows) - mostNamed; more > 0 {
		problems = append(problems, job.Problem{Reason: fmt.Sprintf("and %d more rows of the batch", more)})
	}
	kept := "there was no checkpoint before it"
	if checkpoint != "" {
		kept = "the last good checkpoint is kept: " + strings.TrimPrefix(checkpoint, "checkpoints/")
	}
	if len(found.Rows) == 0 { // the parameters are finite, and yet what they give on the rows for evaluation is not
		message, next := fmt.Sprintf("training diverged: the %s after step %d is %g", found.What, found.Step, found.Value), "lower learning_rate; "+kept
		if found.Step == 0 {
			message = fmt.Sprintf("the base itself cannot be evaluated: its %s is %g", found.What, found.Value)
			next = "look for what is wrong with the rows for evaluation, or use another base"
		}
		return job.UserError(job.CodeNonFinite, message, next)
	}
	return job.UserError(job.CodeNonFinite,
		fmt.Sprintf("training diverged: the %s of step %d is %g on %s of %s", found.What, found.Step, found.Value, rowList(spec, found.Rows), counted(spec)),
		"lower learning_rate, or look for what is wrong with these rows; "+kept, problems...)
}

// counted says what the numbers of rows mean.
func counted(spec job.Spec) string {
	if len(spec.Datasets) > 1 {
		files := make([]string, len(spec.Datasets))
		for i, part := range spec.Datasets {
			files[i] = part.File()
		}
		return fmt.Sprintf("the datasets %s, counted from 0 through all of them; a line is one of the row's own file", strings.Join(files, ", "))
	}
	return fmt.Sprintf("dataset %s, counted from 0", spec.Dataset)
}

// rowName is the number of a row, and where there are several datasets the name of its own.
func rowName(spec job.Spec, place train.Place) string {
	name := strconv.Itoa(place.Row)
	if parts := spec.Parts(); len(parts) > 1 && place.Part >= 0 && place.Part < len(parts) {
		name += " of " + parts[place.Part].File()
	}
	return name
}

// rowList names the first rows of a batch in words.
func rowList(spec job.Spec, rows []train.Place) string {
	const first = 8
	if len(rows) == 1 {
		return "row " + rowName(spec, rows[0])
	}
	words := make([]string, 0, first)
	for _, place := range rows[:min(len(rows), first)] {
		words = append(words, rowName(spec, place))
	}
	list := "rows " + strings.Join(words, ", ")
	if more := len(rows) - first; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return list
}
