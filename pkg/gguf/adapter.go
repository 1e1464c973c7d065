package gguf

import (
	"fmt"
	"io"

	"descant/pkg/lora"
	"descant/pkg/model"
)

// AdapterInfo is what the metadata of an adapter tell beside its numbers.
type AdapterInfo struct {
	// Name is the adapter's, Base that of its base model. BaseDigest, if known, is the digest of the base.
	Name, Base, BaseDigest string
}

// WriteAdapter writes a LoRA adapter in float32 for `llama-cli --lora` and Ollama's ADAPTER.
//
// llama.cpp scales a module by alpha / rank, with one alpha for the file and the rank of the module's own matrices.
// What scales otherwise (rsLoRA, rank_pattern, alpha_pattern) goes into B, which the converter of llama.cpp leaves
// out. For other adapters the tensors are byte for byte those of the checkpoint.
func WriteAdapter(path string, cfg *model.Config, a *lora.Adapter, info AdapterInfo) error {
	arch, err := architecture(cfg)
	if err != nil {
		return err
	}
	fields := []Field{
		{"general.architecture", arch}, {"general.type", "adapter"}, {"adapter.type", "lora"},
		{"general.name", info.Name}, {"general.base_model.count", uint32(1)}, {"general.base_model.0.name", info.Base},
		{"adapter.lora.alpha", float32(a.Config.Alpha)},
		{"general.file_type", uint32(0)}, {"general.quantization_version", uint32(2)},
	}
	if info.BaseDigest != "" {
		fields = append(fields, Field{"descant.base_digest", info.BaseDigest})
	}
	names := layerNames()
	var tensors []Tensor
	for layer, modules := range a.Layers {
		for _, m := range modules {
			name := fmt.Sprintf("blk.%d.%s.weight", layer, names[m.Local])
			flat := a.Flats[layer]
			down, up := flat[m.A:m.A+m.Rank*m.In], ggmlB(m, flat, a.Config.Alpha, rowOrder(arch, m.Local, cfg.HeadDim))
			tensors = append(tensors,
				Tensor{Name: name + ".lora_a", Shape: []int{m.Rank, m.In}, Stream: stream(down)},
				Tensor{Name: name + ".lora_b", Shape: []int{m.Out, m.Rank}, Stream: stream(up)})
		}
	}
	return Write(path, fields, tensors, nil)
}

// ggmlB is B [out, rank] in the order of rows and with the scale that llama.cpp needs.
func ggmlB(m lora.Module, flat []float32, alpha float64, order func(int) int) []float32 {
	b := flat[m.B : m.B+m.Out*m.Rank]
	factor := m.Scale * float64(m.Rank) / alpha
	out := make([]float32, len(b))
	for row := range m.Out {
		from := row
		if order != nil {
			from = order(row)
		}
		for r := range m.Rank {
			out[row*m.Rank+r] = float32(float64(b[from*m.Rank+r]) * factor)
		}
	}
	return out
}

func stream(values []float32) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(model.AsBytes(values))
		return err
	}
}
