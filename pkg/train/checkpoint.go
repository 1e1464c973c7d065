package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"descant/pkg/model"
	"descant/pkg/safetensors"
)

// Names of the files of a checkpoint.
const (
	parametersFile = "adapter.safetensors"
	optimizerFile  = "optimizer.safetensors"
	stateFile      = "state.json"
)

// checkpointFormat changes when an older checkpoint could no longer continue bit for bit.
const checkpointFormat = 1

// state is state.json: all that a run knows beside its arrays. Order of rows, dropout and learning rate follow
// from step and seed.
type state struct {
	Format        int   `json:"format"`
	Step          int   `json:"step"`
	Total         int   `json:"total"`
	Tokens        int64 `json:"tokens"`
	TrainedTokens int64 `json:"trained_tokens"`
	// Loss is that of the last step.
	Loss float64 `json:"loss"`
	Seed int64   `json:"seed"`
	Spec string  `json:"spec"`
	// Device is what computed. On another kind of device a run goes on, but its numbers may differ in their last bits.
	Device string `json:"device"`
	// Eval is nil without rows for evaluation, and before they were looked at.
	Eval *evalState `json:"eval,omitempty"`
}

// saveCheckpoint writes a checkpoint folder under a temporary name and renames it when all is on disk. Values that are
// not finite are no checkpoint: they are a *NotFiniteError. best is the file of the best parameters so far, or "". told
// hears of every part that is written.
func saveCheckpoint(e *engine, s state, dir, best string, told func(part string)) (err error) {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	temp, err := os.MkdirTemp(parent, filepath.Base(dir)+".*.tmp")
	if err != nil {
		return fmt.Errorf("write checkpoint: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write checkpoint %s: %w", dir, err), os.RemoveAll(temp))
		}
	}()
	values, err := e.dump(map[string]func(*group) *model.Array{"": func(g *group) *model.Array { return g.value }})
	if err != nil {
		return err
	}
	if err := safetensors.Write(filepath.Join(temp, parametersFile), values, nil); err != nil {
		return err
	}
	told("adapter")
	moments, err := e.dump(map[string]func(*group) *model.Array{
		".m": func(g *group) *model.Array { return g.m },
		".v": func(g *group) *model.Array { return g.v },
	})
	if err != nil {
		return err
	}
	if err := safetensors.Write(filepath.Join(temp, optimizerFile), moments, nil); err != nil {
		return err
	}
	told("optimizer")
	if best != "" {
		if err := copyFile(best, filepath.Join(temp, bestFile)); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := writeSynced(filepath.Join(temp, stateFile), append(text, '\n')); err != nil {
		return err
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	if err := syncDir(temp); err != nil {
		return err
	}
	// A folder of the same step can only be from a run that was killed after it: the new one replaces it.
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Rename(temp, dir); err != nil {
		return err
	}
	if err := syncDir(parent); err != nil {
		return err
	}
	told("complete")
	return nil
}

// dump copies arrays of all groups from the device, named by group and suffix.
func (e *engine) dump(picks map[string]func(*group) *model.Array) ([]safetensors.Tensor, error) {
	var list []safetensors.Tensor
	for _, g := range e.groups() {
		for suffix, pick := range picks {
			a := pick(g)
			values, err := model.Download[float32](a)
			if err == nil {
				err = checkFinite(values)
			}
			if err != nil {
				return nil, err
			}
			list = append(list, safetensors.Tensor{
				Name: g.name + suffix, DType: safetensors.F32, Shape: a.Shape().Dimensions, Data: model.AsBytes(values),
			})
		}
	}
	slices.SortFunc(list, func(a, b safetensors.Tensor) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Saved is what a checkpoint tells of itself.
type Saved struct {
	// Step is the number of finished steps, of Total.
	Step, Total int
	// Device is the name of the device that computed it; empty in a checkpoint that does not say.
	Device string
}

// Inspect reads what a checkpoint folder tells. The error says why a run with this SpecDigest cannot go on from it.
func Inspect(dir, specDigest string) (Saved, error) {
	s, err := loadState(dir)
	if err == nil && s.Spec != specDigest {
		err = fmt.Errorf("resume from %s: it belongs to a run with other settings or data", dir)
	}
	return Saved{Step: s.Step, Total: s.Total, Device: s.Device}, err
}

// readState reads state.json of a checkpoint and refuses that of another job.
func readState(dir string, want state) (state, error) {
	s, err := loadState(dir)
	if err == nil && (s.Spec != want.Spec || s.Seed != want.Seed || s.Total != want.Total) {
		err = fmt.Errorf("resume from %s: it belongs to a run with other settings or data; start anew, or repeat the "+
			"request that it came from", dir)
	}
	return s, err
}

func loadState(dir string) (state, error) {
	var s state
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return s, fmt.Errorf("resume: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("resume: %s: %w", filepath.Join(dir, stateFile), err)
	}
	switch {
	case s.Format != checkpointFormat:
		return s, fmt.Errorf("resume from %s: it has format %d, this program reads %d; start anew", dir, s.Format, checkpointFormat)
	case s.Step < 0 || s.Step > s.Total:
		return s, fmt.Errorf("resume from %s: step %d of %d", dir, s.Step, s.Total)
	}
	return s, nil
}

// restore loads parameters and moments of a checkpoint into the groups.
func (e *engine) restore(dir string) error {
	values, err := safetensors.Open(filepath.Join(dir, parametersFile))
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	defer values.Close()
	moments, err := safetensors.Open(filepath.Join(dir, optimizerFile))
	if err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	defer moments.Close()
	for _, g := range e.groups() {
		for _, item := range []struct {
			file *safetensors.File
			name string
			into **model.Array
		}{{values, g.name, &g.value}, {moments, g.name + ".m", &g.m}, {moments, g.name + ".v", &g.v}} {
			if err := e.load(item.file, item.name, item.into); err != nil {
				return fmt.Errorf("resume: %w", err)
			}
		}
	}
	return nil
}

// load replaces an array by a tensor of a file, which must have its shape.
func (e *engine) load(file *safetensors.File, name string, into **model.Array) error {
	shape := (*into).Shape().Dimensions
	info, ok := file.Info(name)
	if !ok || !slices.Equal(info.Shape, shape) {
		return fmt.Errorf("%s: tensor %s is %v, expected %v", file.Path(), name, info.Shape, shape)
	}
	data, err := file.Float32(name)
	if err != nil {
		return err
	}
	a, err := model.Upload(e.compiler.Backend(), data, shape...)
	if err != nil {
		return err
	}
	(*into).Free()
	*into = a
	return nil
}

// copyFile copies a file, as a second name of the same content where the file system can.
func copyFile(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return writeSynced(to, data)
}

// writeSynced writes a file and waits until it is on disk.
func writeSynced(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// syncDir makes renames within a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
