package job

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
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
	DatasetDigest string   `json:"dataset_digest"`
	Name          string   `json:"name"`
	Training      Training `json:"training"`
}

// NewSpec pins a request to the digest of its dataset. A request without a name gets one from its id.
func NewSpec(r Request, dataset, digest string) Spec {
	spec := Spec{Format: SpecFormat, Model: r.Model, Dataset: dataset, DatasetDigest: digest, Name: r.Name, Training: r.Training}
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
