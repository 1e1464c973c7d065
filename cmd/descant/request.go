package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/pkg/lifecycle"
)

// defaultModel is the base of the tutorial.
const defaultModel = "Qwen/Qwen2.5-0.5B-Instruct"

// requestFlags are the flags of a fine-tuning request: one for each field of job.Request, by its tags.
type requestFlags struct {
	request job.Request
	loader  *lifecycle.Loader
}

// bindRequest adds the flags of a request to a command.
func bindRequest(cmd *cobra.Command) (*requestFlags, error) {
	f := &requestFlags{request: job.NewRequest()}
	f.request.Model, f.request.Dataset = defaultModel, dataset.SampleName
	var err error
	if f.loader, err = lifecycle.NewLoader(&f.request); err != nil {
		return nil, err
	}
	f.loader.BindFlags(cmd.Flags())
	return f, nil
}

// load takes the flags that were given. Several datasets take the place of the one that is meant when none is named.
func (f *requestFlags) load() error {
	err := f.loader.Load("", nil)
	for _, field := range f.loader.Fields() {
		if field.Key() == "dataset" && field.Source == "default" && len(f.request.Datasets) > 0 {
			f.request.Dataset = ""
		}
	}
	return err
}

// JSON is the request with the fields that were given: what a person leaves out, the gateway decides.
func (f *requestFlags) JSON() ([]byte, error) {
	text, err := json.Marshal(f.request)
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	given := map[string]json.RawMessage{"model": all["model"]}
	if f.request.Dataset != "" {
		given["dataset"] = all["dataset"]
	}
	for _, field := range f.loader.Fields() {
		if field.Source != "default" {
			given[field.Key()] = all[field.Key()]
		}
	}
	return json.Marshal(given)
}

// check validates the request here, where mistakes are cheapest. The gateway does the same.
func (f *requestFlags) check() error {
	text, err := f.JSON()
	if err != nil {
		return err
	}
	request, problems := job.ParseRequest(text)
	if len(problems) > 0 {
		return &exitError{code: exitUsage, err: job.UserError(job.CodeBadRequest, "the request cannot be used", "correct the flags; `--help` describes them", problems...)}
	}
	f.request.Training = request.Training
	return nil
}

// localFile returns the absolute path of a file that the user means by a dataset or model name, or "".
func localFile(name string) (string, error) {
	if strings.Contains(name, ":") {
		return "", nil
	}
	if _, err := os.Stat(name); err != nil {
		if strings.HasPrefix(name, "/") || strings.HasPrefix(name, "./") || strings.HasPrefix(name, "../") || filepath.Ext(name) != "" && strings.HasPrefix(filepath.Ext(name), ".json") {
			return "", fmt.Errorf("there is no file or folder %s; check the path", name)
		}
		return "", nil
	}
	return filepath.Abs(name)
}

// checkRows reads a whole dataset file and returns its rows that can be trained; all problems are one
// error.
func checkRows(path string, opts dataset.ReadOptions) (*dataset.Report, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return dataset.Validate(in, filepath.Base(path), opts)
}

// withName adds the adapter's name to a request.
func withName(request []byte, name string) ([]byte, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(request, &all); err != nil {
		return nil, err
	}
	text, err := json.Marshal(name)
	if err != nil {
		return nil, err
	}
	all["name"] = text
	return json.Marshal(all)
}
