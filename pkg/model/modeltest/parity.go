// Package modeltest reads the parity cases (reference numbers of transformers and PEFT) for the tests of all
// packages that compute.
package modeltest

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"descant/pkg/device"
	"descant/pkg/model"
	"descant/pkg/safetensors"
)

// Case is one folder of reference numbers.
type Case struct {
	Name, Dir string
}

// ownDir is the project's own set, for the tests of packages two folders below its top.
func ownDir() string { return filepath.Join("..", "..", "testdata", "parity") }

// ParityDir is the folder of the parity cases: DESCANT_PARITY_DIR, else testdata/parity of the project.
func ParityDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("DESCANT_PARITY_DIR")
	if dir == "" {
		dir = ownDir()
	}
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("parity cases: %v; set DESCANT_PARITY_DIR or run scripts/parity", err)
	}
	return dir
}

// Cases lists the cases whose model_type is supported and that hold the given file; there must be one. To those of
// [ParityDir] come the project's own ones that have another name.
func Cases(t testing.TB, file string) []Case {
	t.Helper()
	var cases []Case
	names := map[string]bool{}
	for _, dir := range []string{ParityDir(t), ownDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			c := Case{Name: entry.Name(), Dir: filepath.Join(dir, entry.Name())}
			if names[c.Name] || !c.supported(t) {
				continue
			}
			names[c.Name] = true
			if _, err := os.Stat(filepath.Join(c.Dir, file)); err == nil {
				cases = append(cases, c)
			}
		}
	}
	if len(cases) == 0 {
		t.Fatalf("no case with %s in %s", file, ParityDir(t))
	}
	t.Logf("%d cases with %s", len(cases), file)
	return cases
}

// supported says whether the folder is a case of a model that can be read.
func (c Case) supported(t testing.TB) bool {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.Dir, "base", "config.json"))
	if err != nil {
		return false // not a model
	}
	var head struct {
		ModelType string `json:"model_type"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	if !model.Supported(head.ModelType) {
		t.Logf("left out %s: model_type %q is not supported", c.Name, head.ModelType)
	}
	return model.Supported(head.ModelType)
}

// Base is the folder of the case's base model.
func (c Case) Base() string { return filepath.Join(c.Dir, "base") }

// JSON reads a file of the case.
func (c Case) JSON(t testing.TB, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(c.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// Tensors opens a safetensors file of the case until the test ends.
func (c Case) Tensors(t testing.TB, name string) *Tensors {
	t.Helper()
	return OpenTensors(t, filepath.Join(c.Dir, name))
}

// Tensors is an open safetensors file.
type Tensors struct {
	*safetensors.File
}

// OpenTensors opens a safetensors file until the test ends.
func OpenTensors(t testing.TB, path string) *Tensors {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &Tensors{f}
}

// F32 reads a tensor of floats.
func (f *Tensors) F32(t testing.TB, name string) []float32 {
	t.Helper()
	values, err := f.Float32(name)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// I64 reads a tensor of 64-bit integers and gives its dimensions too.
func (f *Tensors) I64(t testing.TB, name string) (values []int64, shape []int) {
	t.Helper()
	info, ok := f.Info(name)
	if !ok || info.DType != safetensors.I64 {
		t.Fatalf("no I64 tensor %s", name)
	}
	data := f.Bytes(name)
	values = make([]int64, len(data)/8)
	for i := range values {
		for k := range 8 {
			values[i] |= int64(data[8*i+k]) << (8 * k)
		}
	}
	return values, info.Shape
}

// Batch reads "<side>.input_ids", its mask and its positions; side is "right" or "left".
func (f *Tensors) Batch(t testing.TB, side string) model.Batch {
	t.Helper()
	ids, shape := f.I64(t, side+".input_ids")
	mask, _ := f.I64(t, side+".attention_mask")
	positions, _ := f.I64(t, side+".position_ids")
	b := model.Batch{Rows: shape[0], Width: shape[1]}
	for i := range ids {
		b.IDs = append(b.IDs, int32(ids[i]))
		b.Valid = append(b.Valid, mask[i] == 1)
		b.Positions = append(b.Positions, int(positions[i]))
	}
	return b
}

// Devices opens the devices that every parity test runs on: XLA on the CPU and pure Go.
func Devices(t testing.TB) []*device.Device {
	t.Helper()
	var list []*device.Device
	for _, kind := range []string{device.XLA, device.Go} {
		d, err := device.Open(kind)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, d)
	}
	return list
}

// Near checks the largest absolute difference of two lists.
func Near(t testing.TB, what string, got, want []float32, limit float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, expected %d", what, len(got), len(want))
		return
	}
	worst, at := 0.0, 0
	for i := range got {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= worst) {
			worst, at = d, i
		}
	}
	if !(worst <= limit) {
		t.Errorf("%s: differs by %.3g at %d (%g, expected %g), allowed %g", what, worst, at, got[at], want[at], limit)
	}
}

// Close checks the relative L2 distance of two lists: the norm of the difference over that of want.
func Close(t testing.TB, what string, got, want []float32, limit float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d values, expected %d", what, len(got), len(want))
		return
	}
	if d := Distance(got, want); !(d <= limit) {
		t.Errorf("%s: relative distance %.3g, allowed %g", what, d, limit)
	}
}

// Distance is the relative L2 distance of got from want, absolute where want is zero.
func Distance(got, want []float32) float64 {
	var diff, norm float64
	for i := range got {
		d := float64(got[i]) - float64(want[i])
		diff += d * d
		norm += float64(want[i]) * float64(want[i])
	}
	if norm == 0 {
		norm = 1
	}
	return math.Sqrt(diff / norm)
}

// NearNumber checks one number.
func NearNumber(t testing.TB, what string, got, want, limit float64) {
	t.Helper()
	if d := math.Abs(got - want); !(d <= limit) {
		t.Errorf("%s: %.9g, expected %.9g, differs by %.3g, allowed %g", what, got, want, d, limit)
	}
}
