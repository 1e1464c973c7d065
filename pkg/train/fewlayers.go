package train

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"descant/pkg/model"
	"descant/pkg/safetensors"
)

// writeLayers makes a base in dir that is like the one of baseDir but has only so many decoder layers, and made-up weights.
// Only config.json of the base is read.
func writeLayers(baseDir, dir string, layers int) error {
	text, err := os.ReadFile(filepath.Join(baseDir, "config.json"))
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(baseDir, "config.json"), err)
	}
	fields["num_hidden_layers"] = layers
	if kinds, ok := fields["layer_types"].([]any); ok && len(kinds) > layers {
		fields["layer_types"] = kinds[:layers]
	}
	if text, err = json.Marshal(fields); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644); err != nil {
		return err
	}
	cfg, err := model.ReadConfig(dir)
	if err != nil {
		return err
	}
	dtype := safetensors.F32
	switch cfg.Stored {
	case "bfloat16":
		dtype = safetensors.BF16
	case "float16":
		dtype = safetensors.F16
	}
	block, err := madeUp(dtype)
	if err != nil {
		return err
	}
	var list []safetensors.Tensor
	for _, t := range cfg.Tensors() {
		size := t.Size() * int64(dtype.Size())
		list = append(list, safetensors.Tensor{Name: t.Name, DType: dtype, Shape: t.Shape, Stream: func(w io.Writer) error {
			for left := size; left > 0; {
				n, err := w.Write(block[:min(left, int64(len(block)))])
				if err != nil {
					return err
				}
				left -= int64(n)
			}
			return nil
		}})
	}
	return safetensors.Write(filepath.Join(dir, weightsFile), list, map[string]string{"format": "pt"})
}

// madeUp is a block of numbers within ±0.05, like those of a trained model: no kernel is quicker or slower for them.
func madeUp(dtype safetensors.DType) ([]byte, error) {
	values := make([]float32, 1<<18)
	for i := range values {
		values[i] = 0.05 * (float32(mix(uint64(i))>>40)/(1<<23) - 1)
	}
	return safetensors.EncodeFloat32(dtype, values)
}
