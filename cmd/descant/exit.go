package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"descant/pkg/bus"
	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // by a signal; what can be saved is saved
)

// exitCodes is their description in the help.
const exitCodes = `Exit codes: 0 it is done; 1 it failed; 2 the command line or the configuration is wrong; 130 interrupted by a
signal, with what could be saved saved.`

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
	// told: the result on stdout says it already, when that is JSON.
	told bool
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usage marks an error of the command line.
func usage(cmd *cobra.Command, err error) error {
	if errors.As(err, new(*exitError)) {
		return err
	}
	return &exitError{code: exitUsage, err: fmt.Errorf("%w\nSee: %s --help", err, cmd.CommandPath())}
}

// interrupted marks the end by a signal, with what was saved and how to go on.
func interrupted(format string, args ...any) error {
	return &exitError{code: exitInterrupted, err: fmt.Errorf(format, args...)}
}

// fail tells of an error, once, and returns the exit code.
func (a *app) fail(err error) int {
	if err == nil {
		return exitOK
	}
	code := exitFailed
	var exit *exitError
	switch {
	case errors.As(err, &exit):
		code = exit.code
	case errors.Is(err, context.Canceled), errors.Is(err, lifecycle.ErrStopping):
		code = exitInterrupted
		err = errors.New("interrupted")
	}
	fmt.Fprintln(a.err, "descant:", explain(err))
	if a.json && (exit == nil || !exit.told) {
		// A program reads the same error on stdout; if that is closed, the exit code is all it gets.
		_ = json.NewEncoder(a.out).Encode(map[string]any{"error": errorValue(err)})
	}
	return code
}

// explain gives an error that came over the wire the form of one that was made here.
func explain(err error) error {
	var failure *bus.Failure
	if errors.As(err, &failure) {
		return job.FromProto(failure.Detail)
	}
	return err
}

func errorValue(err error) any {
	var classed *job.Error
	if errors.As(explain(err), &classed) {
		return classed
	}
	var rows *dataset.ValidationError
	if errors.As(err, &rows) {
		return map[string]any{"class": job.User, "code": job.CodeBadDataset, "message": err.Error(), "dataset": rows}
	}
	return map[string]string{"message": err.Error()}
}

// explainService takes the name of the service off an error of a command that is one of the services of
// its process.
func explainService(err error) error {
	var own *exitError
	var classed *job.Error
	var failure *bus.Failure
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &classed):
		return classed
	case errors.As(err, &failure):
		return failure
	}
	return err
}
