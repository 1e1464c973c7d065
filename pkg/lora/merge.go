package lora

import (
	"fmt"

	"descant/pkg/safetensors"
)

// AddTo adds a module's change scale·B·A to a base weight [out, in] in place.
func (m Module) AddTo(weight, flat []float32) {
	a, b := flat[m.A:m.A+m.Rank*m.In], flat[m.B:m.B+m.Out*m.Rank]
	row := make([]float32, m.In)
	scale := float32(m.Scale)
	for o := range m.Out {
		clear(row)
		for r := range m.Rank {
			factor := b[o*m.Rank+r]
			for i, v := range a[r*m.In : (r+1)*m.In] {
				row[i] += factor * v
			}
		}
		out := weight[o*m.In : (o+1)*m.In]
		for i, v := range row {
			out[i] += scale * v
		}
	}
}

// Merge writes the model of base with the adapter added into its weights as the file path. dtype F32 keeps the
// merged weights exact; "" keeps every tensor's own type, rounding to nearest even.
func (a *Adapter) Merge(base *safetensors.Set, path string, dtype safetensors.DType) error {
	changes := map[string]func([]float32){}
	for layer, modules := range a.Layers {
		for _, m := range modules {
			changes[m.Name+".weight"] = func(w []float32) { m.AddTo(w, a.Flats[layer]) }
		}
	}
	var list []safetensors.Tensor
	for _, name := range base.Names() {
		info, _ := base.Info(name)
		into := dtype
		if into == "" {
			into = info.DType
		}
		change := changes[name]
		data := base.Bytes(name)
		if change != nil || into != info.DType {
			values, err := base.Float32(name)
			if err != nil {
				return fmt.Errorf("merge %s: %w", name, err)
			}
			if change != nil {
				change(values)
			}
			if data, err = safetensors.EncodeFloat32(into, values); err != nil {
				return fmt.Errorf("merge %s: %w", name, err)
			}
		}
		list = append(list, safetensors.Tensor{Name: name, DType: into, Shape: info.Shape, Data: data})
	}
	if err := safetensors.Write(path, list, map[string]string{"format": "pt"}); err != nil {
		return fmt.Errorf("write merged model: %w", err)
	}
	return nil
}
