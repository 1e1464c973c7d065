package lora

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"descant/pkg/model"
	"descant/pkg/safetensors"
)

// Inspect reads an adapter that somebody else made for a base of the given architecture and returns everything that
// is wrong with it: features that are not supported, tensors that are missing, unexpected, of another shape or not
// finite. No problem means that it loads and serves as our own do.
func Inspect(cfg *model.Config, dir string) (*Adapter, []string) {
	var problems []string
	data, err := os.ReadFile(filepath.Join(dir, ConfigFile))
	if err != nil {
		return nil, []string{err.Error()}
	}
	c, err := ParseConfig(data)
	if err != nil {
		// The tensors of features that are not supported still tell which they are.
		return nil, append(append(problems, err.Error()), strangers(filepath.Join(dir, WeightsFile))...)
	}
	plan, err := NewPlan(cfg, c)
	if err != nil {
		return nil, append(append(problems, err.Error()), strangers(filepath.Join(dir, WeightsFile))...)
	}
	flats, err := plan.ReadWeights(filepath.Join(dir, WeightsFile))
	if err != nil {
		return nil, append(problems, err.Error())
	}
	for layer, modules := range plan.Layers {
		for _, m := range modules {
			for _, part := range m.parts() {
				for _, v := range flats[layer][part.offset : part.offset+part.shape[0]*part.shape[1]] {
					if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
						problems = append(problems, part.key+" holds a value that is no finite number")
						break
					}
				}
			}
		}
	}
	return &Adapter{Plan: plan, Flats: flats}, problems
}

// strangers lists the tensors of a file that are neither A nor B.
func strangers(path string) []string {
	file, err := safetensors.Open(path)
	if err != nil {
		return []string{err.Error()}
	}
	defer file.Close()
	var problems []string
	for _, name := range file.Names() {
		if !strings.HasSuffix(name, ".lora_A.weight") && !strings.HasSuffix(name, ".lora_B.weight") {
			problems = append(problems, fmt.Sprintf("%s: tensor %s belongs to no LoRA matrix", WeightsFile, name))
		}
	}
	return problems
}
