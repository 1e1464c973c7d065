package main

import (
	"fmt"
	"slices"

	"descant/pkg/dataset"
	"descant/pkg/job"
	"descant/services/tokenizer"
)

// sources are the datasets of a request, of which some are files on this machine.
type sources struct {
	request *job.Request
	files   map[string]string // name in the request → absolute path
}

// datasetNames are the datasets in the order of the request.
func datasetNames(r *job.Request) (list []string) {
	for _, part := range r.Datasets {
		list = append(list, part.Name)
	}
	if len(list) == 0 {
		list = []string{r.Dataset}
	}
	return list
}

// allNames are those and the dataset for evaluation, each once.
func allNames(r *job.Request) []string {
	list := datasetNames(r)
	if r.EvalDataset != "" && !slices.Contains(list, r.EvalDataset) {
		list = append(list, r.EvalDataset)
	}
	return list
}

// localSources finds the files among the datasets of a request.
func localSources(r *job.Request) (*sources, error) {
	s := &sources{request: r, files: map[string]string{}}
	for _, name := range allNames(r) {
		path, err := localFile(name)
		if err != nil {
			return nil, err
		}
		if path != "" {
			s.files[name] = path
		}
	}
	return s, nil
}

// check reads every file here, where mistakes are cheapest; all problems of all files are one error.
func (s *sources) check() error {
	var refused tokenizer.RefusedError
	for _, name := range allNames(s.request) {
		if s.files[name] == "" {
			continue
		}
		_, err := checkRows(s.files[name], tokenizer.ReadOptions(s.request.Training))
		if bad, ok := err.(*dataset.ValidationError); ok { //nolint:errorlint // it comes unwrapped
			refused = append(refused, bad)
		} else if err != nil {
			return err
		}
	}
	switch len(refused) {
	case 0:
		return nil
	case 1:
		return refused[0]
	}
	return refused
}

// replace lets every file be known under another name, which store gives.
func (s *sources) replace(store func(path string) (string, error)) error {
	eval := s.request.EvalDataset
	for _, name := range allNames(s.request) {
		path := s.files[name]
		if path == "" {
			continue
		}
		stored, err := store(path)
		if err != nil {
			return fmt.Errorf("store %s: %w", name, err)
		}
		if name == eval {
			s.request.EvalDataset = stored
		}
		if s.request.Dataset == name {
			s.request.Dataset = stored
		}
		for i := range s.request.Datasets {
			if s.request.Datasets[i].Name == name {
				s.request.Datasets[i].Name = stored
			}
		}
	}
	return nil
}
