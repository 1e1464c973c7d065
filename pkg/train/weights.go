package train

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"descant/pkg/model"
	"descant/pkg/safetensors"
)

// weights names one array of every group of full training (value, gradient, …) as the tensors of a checkpoint,
// in the files' layout and float32.
func (e *engine) weights(pick func(*group) *model.Array) ([]safetensors.Tensor, error) {
	var list []safetensors.Tensor
	add := func(t model.Tensor, values []float32) {
		list = append(list, safetensors.Tensor{Name: t.Name, DType: safetensors.F32, Shape: t.Shape, Data: model.AsBytes(values)})
	}
	for i, g := range e.layers {
		flat, err := model.Download[float32](pick(g))
		if err != nil {
			return nil, err
		}
		offset := 0
		for _, t := range e.config.LayerTensors() {
			end := offset + int(t.Size())
			values := flat[offset:end:end]
			offset = end
			if len(t.Shape) == 2 {
				memory := t.Memory()
				values = model.Transposed(values, memory[0], memory[1])
			}
			add(model.Tensor{Name: model.LayerPrefix(i) + t.Name, Shape: t.Shape}, values)
		}
	}
	for _, t := range e.config.Tensors() {
		g := map[string]*group{model.EmbedName: e.embed, model.NormName: e.norm, model.HeadName: e.head}[t.Name]
		if g == nil {
			continue
		}
		values, err := model.Download[float32](pick(g))
		if err != nil {
			return nil, err
		}
		add(t, values)
	}
	return list, nil
}

// weightsFile is the one file of a model that is small enough for one.
const weightsFile = "model.safetensors"

// saveModel writes a whole model folder: the weights in the dtype that config.json names (float32 unless it is
// bfloat16 or float16), and every small file of the base (configuration, tokenizer, template).
func (e *engine) saveModel(baseDir, dir string) error {
	list, err := e.weights(func(g *group) *model.Array { return g.value })
	if err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	dtype := map[string]safetensors.DType{"bfloat16": safetensors.BF16, "float16": safetensors.F16}[e.config.Stored]
	if dtype != "" {
		for i, t := range list {
			values, err := safetensors.DecodeFloat32(t.DType, t.Data)
			if err != nil {
				return fmt.Errorf("save model: %w", err)
			}
			if list[i].Data, err = safetensors.EncodeFloat32(dtype, values); err != nil {
				return fmt.Errorf("save model: %w", err)
			}
			list[i].DType = dtype
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	entries, err := os.ReadDir(baseDir)
	if err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || strings.Contains(name, ".safetensors") {
			continue
		}
		data, err := os.ReadFile(filepath.Join(baseDir, name))
		if err != nil {
			return fmt.Errorf("save model: %w", err)
		}
		if err := writeSynced(filepath.Join(dir, name), data); err != nil {
			return fmt.Errorf("save model: %w", err)
		}
	}
	if err := safetensors.Write(filepath.Join(dir, weightsFile), list, map[string]string{"format": "pt"}); err != nil {
		return fmt.Errorf("save model: %w", err)
	}
	return nil
}
