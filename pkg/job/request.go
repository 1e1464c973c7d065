package job

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// MaxInlineBytes is how many bytes of rows a request may carry itself.
const MaxInlineBytes = 256 << 10

// Request is a fine-tuning request as a person types it on finetune.request.
type Request struct {
	// Model is the base: `org/name[@revision]` on the hub, `builtin:tiny`, a folder that the
	// operator allowed, or an `s3://` prefix.
	Model string `json:"model" yaml:"model" help:"base model: org/name[@revision], builtin:tiny, a folder, or s3://prefix"`
	// Dataset is the name or `sha256:` digest of a pushed dataset, an `s3://` key or `builtin:sample`.
	Dataset string `json:"dataset,omitempty" yaml:"dataset" help:"name or sha256: digest of a pushed dataset, s3://key, or builtin:sample"`
	// Datasets are several datasets with weights, in place of Dataset.
	Datasets Mixture `json:"datasets,omitempty" yaml:"datasets" help:"several datasets in place of dataset, each with how often its rows are trained, such as support=2,chat=0.5"`
	// EvalDataset is a dataset, in place of Training's val_size, on which the model is evaluated and not trained.
	EvalDataset string `json:"eval_dataset,omitempty" yaml:"eval_dataset" help:"dataset for evaluation, named like dataset; val_size takes rows of dataset instead"`
	// Rows are the rows themselves, at most MaxInlineBytes, in place of Dataset.
	Rows []json.RawMessage `json:"rows,omitempty" yaml:"-" help:"rows of the dataset itself, at most 256 KiB"`
	// Name is what the adapter is published under; left out, it is made from the job's id.
	Name string `json:"name,omitempty" yaml:"name" help:"name of the adapter: a-z, 0-9 and ._-, at most 63 characters"`
	// Metadata are the caller's own words about the job, by which it can be found in a list. They mean nothing else and are
	// not part of the spec: the same request with other metadata is the same job, which keeps the first ones.
	Metadata Metadata `json:"metadata,omitempty" yaml:"-" help:"your own words about the job, at most 16 pairs of texts"`

	Training `yaml:",inline"`
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// ValidName reports whether name can be an adapter's, a dataset's or an alias's name.
func ValidName(name string) bool { return namePattern.MatchString(name) }

// NameProblem returns what is wrong with a name, or nil.
func NameProblem(field, name string) *Problem {
	if ValidName(name) {
		return nil
	}
	return &Problem{
		Field: field, Found: strconv.Quote(shorten(name)), Reason: "is not a valid name",
		Next: "use 1 to 63 of a-z, 0-9, '.', '_' and '-', starting with a letter or a digit",
	}
}

// NewRequest returns a request with every hyper-parameter at its default.
func NewRequest() Request { return Request{Training: DefaultTraining()} }

// ParseRequest reads a request strictly and validates it; it returns every problem at once.
func ParseRequest(data []byte) (Request, []Problem) {
	request := NewRequest()
	given, problems := DecodeStrict(data, &request)
	request.settle(given)
	if len(problems) > 0 && len(given) == 0 {
		return request, problems
	}
	return request, append(problems, request.validate(problems)...)
}

// settle applies what giving one field means for another: epochs alone replace the default number
// of steps, and a schedule without a warmup the default warmup.
func (r *Request) settle(given []string) {
	has := map[string]bool{}
	for _, name := range given {
		has[name] = true
	}
	if has["num_train_epochs"] && !has["max_steps"] {
		r.MaxSteps = 0
	}
	if r.LRSchedulerType == SchedulerConstant && !has["warmup_ratio"] {
		r.WarmupRatio = 0
	}
}

// Validate returns every problem of the request, or nil.
func (r *Request) Validate() []Problem { return r.validate(nil) }

// validate leaves out the fields that could not be read, as their values mean nothing.
func (r *Request) validate(unread []Problem) []Problem {
	skip := map[string]bool{}
	for _, p := range unread {
		skip[p.Field] = true
	}
	var found []Problem
	if strings.TrimSpace(r.Model) == "" {
		found = append(found, Problem{Field: "model", Reason: "is missing", Next: `name a base, for example "Qwen/Qwen2.5-0.5B-Instruct" or "builtin:tiny"`})
	}
	found = append(found, r.validateData()...)
	found = append(found, r.validateEvaluation()...)
	if r.Name != "" {
		if p := NameProblem("name", r.Name); p != nil {
			found = append(found, *p)
		}
	}
	found = append(found, r.Metadata.problems()...)
	found = append(found, r.Training.Validate()...)
	kept := found[:0]
	for _, p := range found {
		if !skip[p.Field] {
			kept = append(kept, p)
		}
	}
	return kept
}

func (r *Request) validateData() []Problem {
	size := 0
	for _, row := range r.Rows {
		size += len(row) + 1
	}
	switch {
	case r.Dataset == "" && len(r.Rows) == 0 && len(r.Datasets) == 0:
		return []Problem{{Field: "dataset", Reason: "is missing", Next: "push a file with `descant datasets push FILE` and give its name, or use builtin:sample"}}
	case r.Dataset != "" && len(r.Datasets) > 0, len(r.Rows) > 0 && len(r.Datasets) > 0:
		return []Problem{{Field: "datasets", Found: r.Datasets.String(), Reason: "stand beside dataset or rows", Next: "name all datasets in datasets, or only one in dataset"}}
	case r.Dataset != "" && len(r.Rows) > 0:
		return []Problem{{Field: "rows", Reason: "stand beside dataset", Next: "give only one of the two"}}
	case size > MaxInlineBytes:
		return []Problem{{Field: "rows", Found: fmt.Sprintf("%d bytes", size), Reason: fmt.Sprintf("are more than %d bytes", MaxInlineBytes), Next: "push them with `descant datasets push FILE` and give its name as dataset"}}
	}
	return r.Datasets.problems()
}

// InlineRows returns the rows of the request as JSON Lines, one compact row a line.
func (r *Request) InlineRows() []byte {
	var b bytes.Buffer
	for _, row := range r.Rows {
		if err := json.Compact(&b, row); err != nil {
			b.Write(row)
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}
