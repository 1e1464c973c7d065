package lora

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"descant/pkg/model"
	"descant/pkg/safetensors"
)

// Names of the two files of an adapter.
const (
	ConfigFile  = "adapter_config.json"
	WeightsFile = "adapter_model.safetensors"
)

// keyPrefix is what PEFT puts before the module's name in the base checkpoint.
const keyPrefix = "base_model.model."

// Adapter is a plan with its numbers.
type Adapter struct {
	*Plan
	// Flats are the flat arrays of the layers; nil or empty where a layer has no adapter.
	Flats [][]float32
}

// Load reads an adapter folder as PEFT writes it, for a model of the given architecture. Wrong, missing and
// unexpected tensors are one error with the whole list.
func Load(cfg *model.Config, dir string) (*Adapter, error) {
	data, err := os.ReadFile(filepath.Join(dir, ConfigFile))
	if err != nil {
		return nil, fmt.Errorf("load adapter: %w", err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("load adapter %s: %w", dir, err)
	}
	plan, err := NewPlan(cfg, c)
	if err != nil {
		return nil, fmt.Errorf("load adapter %s: %w", dir, err)
	}
	flats, err := plan.ReadWeights(filepath.Join(dir, WeightsFile))
	if err != nil {
		return nil, fmt.Errorf("load adapter: %w", err)
	}
	return &Adapter{Plan: plan, Flats: flats}, nil
}

// ReadWeights reads the matrices from a safetensors file (f32, f16 or bf16) into flat arrays.
func (p *Plan) ReadWeights(path string) ([][]float32, error) {
	file, err := safetensors.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var problems []string
	expected := map[string]bool{}
	flats := make([][]float32, len(p.Layers))
	for layer, modules := range p.Layers {
		flats[layer] = make([]float32, p.Size(layer))
		for _, m := range modules {
			for _, part := range m.parts() {
				expected[part.key] = true
				info, ok := file.Info(part.key)
				if !ok {
					problems = append(problems, fmt.Sprintf("%s %v is missing", part.key, part.shape))
					continue
				}
				if !slices.Equal(info.Shape, part.shape) {
					problems = append(problems, fmt.Sprintf("%s is %v, expected %v", part.key, info.Shape, part.shape))
					continue
				}
				values, err := file.Float32(part.key)
				if err != nil {
					problems = append(problems, err.Error())
					continue
				}
				copy(flats[layer][part.offset:], values)
			}
		}
	}
	for _, name := range file.Names() {
		if !expected[name] {
			problems = append(problems, name+" is unexpected")
		}
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s: %d of the tensors do not fit adapter_config.json and the base:\n  %s", path,
			len(problems), strings.Join(problems, "\n  "))
	}
	return flats, nil
}

// Save writes adapter_config.json and adapter_model.safetensors into a folder, byte for byte as PEFT does.
func (a *Adapter) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("save adapter: %w", err)
	}
	if err := a.WriteWeights(filepath.Join(dir, WeightsFile), a.Flats); err != nil {
		return fmt.Errorf("save adapter: %w", err)
	}
	if err := writeFile(filepath.Join(dir, ConfigFile), []byte(a.Config.Text())); err != nil {
		return fmt.Errorf("save adapter: %w", err)
	}
	return nil
}

// WriteWeights writes flat arrays as a safetensors file with PEFT's key names.
func (p *Plan) WriteWeights(path string, flats [][]float32) error {
	return safetensors.Write(path, p.Tensors(flats), map[string]string{"format": "pt"})
}

// Tensors names the matrices within flat arrays as PEFT does; the data is not copied.
func (p *Plan) Tensors(flats [][]float32) []safetensors.Tensor {
	var list []safetensors.Tensor
	for layer, modules := range p.Layers {
		for _, m := range modules {
			for _, part := range m.parts() {
				values := flats[layer][part.offset : part.offset+part.shape[0]*part.shape[1]]
				list = append(list, safetensors.Tensor{
					Name: part.key, DType: safetensors.F32, Shape: part.shape, Data: model.AsBytes(values),
				})
			}
		}
	}
	return list
}

// part is one matrix of a module.
type part struct {
	key    string
	shape  []int
	offset int
}

func (m Module) parts() []part {
	return []part{
		{keyPrefix + m.Name + ".lora_A.weight", []int{m.Rank, m.In}, m.A},
		{keyPrefix + m.Name + ".lora_B.weight", []int{m.Out, m.Rank}, m.B},
	}
}

// writeFile writes under a temporary name, syncs and renames.
func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Chmod(0o644); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
