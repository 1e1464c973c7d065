package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/services/tokenizer"
)

// rowFlags are the flags of commands that look at rows as a training would see them.
type rowFlags struct {
	Model     string `yaml:"model" help:"base whose tokenizer and chat template make the tokens"`
	MaxLength int    `yaml:"max_length" help:"longest row in tokens"`
	LossOn    string `yaml:"loss_on" help:"tokens that are trained: full (the whole row), completion (answers only) or last_turn (the last answer)"`
	job.Data  `yaml:",inline"`

	loader *lifecycle.Loader
}

// bindRows adds the flags to a command; model is the default base, "" for none.
func bindRows(cmd *cobra.Command, model, lossOn string) *rowFlags {
	training := job.DefaultTraining()
	f := &rowFlags{Model: model, MaxLength: training.MaxLength, LossOn: lossOn, Data: training.Data}
	loader, err := lifecycle.NewLoader(f)
	if err != nil {
		panic(err) // the tags above are wrong, which every test would show
	}
	f.loader = loader
	loader.BindFlags(cmd.Flags())
	return f
}

// load takes the flags that were given and checks them as a request does.
func (f *rowFlags) load() error { return f.loadWith("the rows cannot be looked at so", nil) }

// loadWith also tells what is wrong with other flags of the command.
func (f *rowFlags) loadWith(message string, others []job.Problem) error {
	if err := f.loader.Load("", nil); err != nil {
		return &exitError{code: exitUsage, err: err}
	}
	if problems := append(others, f.training().Validate()...); len(problems) > 0 {
		return &exitError{code: exitUsage, err: job.UserError(job.CodeBadRequest, message, "correct the flags; `--help` describes them", problems...)}
	}
	return nil
}

func (f *rowFlags) training() job.Training {
	t := job.DefaultTraining()
	t.MaxLength, t.LossOn, t.Data = f.MaxLength, f.LossOn, f.Data
	return t
}

func (f *rowFlags) tokenise() dataset.TokeniseOptions { return tokenizer.TokeniseOptions(f.training()) }

// read are the options of reading; 0 problems is the usual number.
func (f *rowFlags) read(problems int) dataset.ReadOptions {
	opts := tokenizer.ReadOptions(f.training())
	opts.MaxProblems = problems
	return opts
}

// openRows opens a file of rows, or the built-in sample.
func openRows(name string) (io.ReadCloser, error) {
	if name == dataset.SampleName {
		return io.NopCloser(bytes.NewReader(dataset.SampleBytes())), nil
	}
	in, err := os.Open(name)
	if err != nil {
		return nil, job.UserError(job.CodeDatasetMissing, fmt.Sprintf("the rows of %s cannot be read: %v", name, err), "give the path of a file, or builtin:sample")
	}
	if info, err := in.Stat(); err == nil && info.IsDir() {
		_ = in.Close() // it was only opened to look
		return nil, job.UserError(job.CodeDatasetMissing, name+" is a folder, not a file of rows", "give the path of a file in it")
	}
	return in, nil
}

func newReader(in io.Reader, name string, opts dataset.ReadOptions) *dataset.Reader {
	return dataset.NewReader(in, filepath.Base(name), opts)
}

// openEncoder loads the text side of a base. A folder needs no weights for it.
func (a *app) openEncoder(ctx context.Context, model string) (*tokenizer.Encoder, error) {
	dir, err := localFile(model)
	if err != nil {
		return nil, err
	}
	if dir == "" {
		_, snapshot, err := a.base(ctx, model)
		if err != nil {
			return nil, err
		}
		dir = snapshot.Dir
	}
	return tokenizer.OpenEncoder(dir, model)
}
