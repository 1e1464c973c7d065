package jinja

import (
	"errors"
	"fmt"
	"slices"
)

// Error is the failure of a template. Type is the name of the exception that Python's Jinja raises
// (TemplateSyntaxError, UndefinedError, TypeError, SecurityError, …; TemplateError for
// raise_exception). Line is the line of the template, 0 where unknown.
type Error struct {
	Type    string
	Message string
	Line    int
}

func (e *Error) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s: %s (template line %d)", e.Type, e.Message, e.Line)
	}
	return e.Type + ": " + e.Message
}

// fail stops the evaluation; Parse and Render turn it into an error at their boundary.
func fail(kind, format string, a ...any) {
	panic(&Error{Type: kind, Message: fmt.Sprintf(format, a...)})
}

// recovered turns the panic of fail into an error; other panics are bugs of the engine, reported as
// errors too, because a template is input.
func recovered(r any, line int) error {
	var e *Error
	if err, ok := r.(error); ok && errors.As(err, &e) {
		if e.Line == 0 {
			e.Line = line
		}
		return e
	}
	return &Error{Type: "RuntimeError", Message: fmt.Sprint(r), Line: line}
}

func sortStable[T any](s []T, cmp func(a, b T) int) { slices.SortStableFunc(s, cmp) }
