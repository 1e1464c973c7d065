package job

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
)

// SpecFormat is the version of the canonical spec. A change of what a field means raises it, so that
// an old id never stands for a new meaning.
const SpecFormat = 1

// Spec is a request with everything decided: defaults filled in, the data pinned to a digest. It
// never changes in the life of a job.
type Spec struct {
	Format int    `json:"format"`
	Model  string `json:"model"`
	// Dataset is the reference as it was given (inline rows become the reference of their digest).
	Dataset string `json:"dataset"`
	// DatasetDigest pins the content: `sha256:…`, or `etag:…` for an object that others wrote.
	DatasetDigest string `json:"dataset_digest"`
	// Datasets are the parts of a mixture, pinned; Dataset then names them all and DatasetDigest is that of this list.
	Datasets []SpecDataset `json:"datasets,omitempty"`
	// EvalDataset is the dataset for evaluation, pinned; nil without one.
	EvalDataset *SpecDataset `json:"eval_dataset,omitempty"`
	Name        string       `json:"name"`
	Training    Training     `json:"training"`
}

// SpecDataset is one dataset of a mixture.
type SpecDataset struct {
	// Name is the reference as it was given.
	Name string `json:"name"`
	// Dataset and Digest are what Spec.Dataset and Spec.DatasetDigest are for a single dataset.
	Dataset string  `json:"dataset"`
	Digest  string  `json:"digest"`
	Weight  float64 `json:"weight"`
}

// Parts are the datasets of the job: those of a mixture, or the only one with the weight 1.
func (s Spec) Parts() []SpecDataset {
	if len(s.Datasets) > 0 {
		return s.Datasets
	}
	return []SpecDataset{{Name: s.Dataset, Dataset: s.Dataset, Digest: s.DatasetDigest, Weight: 1}}
}

// NewMixtureSpec pins a request to several datasets. eval is that for evaluation, nil without one.
func NewMixtureSpec(r Request, parts []SpecDataset, eval *SpecDataset) Spec {
	text, err := json.Marshal(parts)
	if err != nil {
		panic(fmt.Sprintf("job: datasets of %s cannot be written as JSON: %v", r.Model, err)) // a weight that Validate refuses
	}
	sum := sha256.Sum256(text)
	return newSpec(Spec{Model: r.Model, Dataset: r.Datasets.String(), DatasetDigest: "sha256:" + hex.EncodeToString(sum[:]), Datasets: parts, EvalDataset: eval, Name: r.Name, Training: r.Training})
}

// NewSpec pins a request to the digest of its dataset and to the dataset for evaluation, nil without one. A request
// without a name gets one from its id.
func NewSpec(r Request, dataset, digest string, eval *SpecDataset) Spec {
	return newSpec(Spec{Model: r.Model, Dataset: dataset, DatasetDigest: digest, EvalDataset: eval, Name: r.Name, Training: r.Training})
}

func newSpec(spec Spec) Spec {
	spec.Format = SpecFormat
	if spec.Name == "" {
		spec.Name = "adapter-" + spec.ID()[len(idPrefix):][:8]
	}
	return spec
}

const idPrefix = "ft-"

// ID returns the job's id: "ft-" and the first 20 hex digits of the sha256 of the canonical spec.
func (s Spec) ID() string {
	sum := sha256.Sum256(s.Canonical())
	return idPrefix + hex.EncodeToString(sum[:10])
}

// Digest returns the whole sha256 of the canonical spec as `sha256:…`.
func (s Spec) Digest() string {
	sum := sha256.Sum256(s.Canonical())
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Canonical returns the one JSON text of the spec: fixed order of fields, no white space, numbers in
// their shortest form.
func (s Spec) Canonical() []byte {
	data, err := json.Marshal(s)
	if err != nil {
		// Only a NaN or an infinity can do this, and Validate refuses both.
		panic(fmt.Sprintf("job: spec of %s cannot be written as JSON: %v", s.Model, err))
	}
	return data
}

// ParseSpec reads a canonical spec. Hyper-parameters that it does not name, because the version that wrote it did not
// know them, have their defaults.
func ParseSpec(data []byte) (Spec, error) {
	s := Spec{Training: DefaultTraining()}
	if err := json.Unmarshal(data, &s); err != nil {
		return Spec{}, fmt.Errorf("read job spec: %w", err)
	}
	if s.Format != SpecFormat {
		return Spec{}, fmt.Errorf("read job spec: format %d is not known to this version (it knows %d); update descant", s.Format, SpecFormat)
	}
	return s, nil
}

// ParseSpecObject reads a spec from the object that a manifest or a view of a job holds. The object's numbers are
// float64, so a seed beyond 2⁵³ is a text there.
func ParseSpecObject(fields map[string]any) (Spec, error) {
	if training, ok := fields["training"].(map[string]any); ok {
		if digits, ok := training["seed"].(string); ok {
			seed, err := strconv.ParseInt(digits, 10, 64)
			if err != nil {
				return Spec{}, fmt.Errorf("read job spec: seed: %w", err)
			}
			training = maps.Clone(training)
			training["seed"] = seed
			fields = maps.Clone(fields)
			fields["training"] = training
		}
	}
	data, err := json.Marshal(fields)
	if err != nil {
		return Spec{}, fmt.Errorf("read job spec: %w", err)
	}
	return ParseSpec(data)
}
