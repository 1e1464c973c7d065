package train

import (
	"fmt"

	"descant/pkg/lora"
	"descant/pkg/model"
)

// newEngine prepares an engine around a model, without groups. It owns the model from here on.
func newEngine(m *model.Model, c *model.Compiler, t target, o adamW) *engine {
	return &engine{
		config: m.Config, compiler: c, target: t, base: m, optimizer: o,
		constants: newConstants(c.Backend()),
		programs:  map[string]*model.Program{},
		tables:    map[int][2]*model.Array{},
		layers:    make([]*group, m.Config.Layers),
	}
}

// newLoraEngine trains an adapter from the given flat arrays.
func newLoraEngine(m *model.Model, c *model.Compiler, a *lora.Adapter, o adamW) (*engine, error) {
	e := newEngine(m, c, &loraTarget{model: m, plan: a.Plan}, o)
	for i, flat := range a.Flats {
		if len(flat) == 0 {
			continue
		}
		value, err := model.Upload(c.Backend(), flat, len(flat))
		if err == nil {
			e.layers[i], err = newGroup(e.constants, fmt.Sprintf("layer.%d", i), value, "all", nil)
		}
		if err == nil && o.loraPlus() {
			e.layers[i].rate, err = e.constants.get("rate "+a.Signature(i), func(rates []float32) { fasterB(a.Plan, i, o.ratio, rates) }, len(flat))
		}
		if err != nil {
			e.close()
			return nil, err
		}
	}
	return e, nil
}

// fasterB fills the factors of LoRA+ on the learning rates of a layer's flat array: 1 for A, the ratio for B, as the
// groups of PEFT's create_loraplus_optimizer.
func fasterB(plan *lora.Plan, layer int, ratio float64, rates []float32) {
	for i := range rates {
		rates[i] = 1
	}
	for _, m := range plan.Layers[layer] {
		for i := m.B; i < m.B+m.Out*m.Rank; i++ {
			rates[i] = float32(ratio)
		}
	}
}

// newFullEngine trains every weight of a model. The model's layers are moved into flat arrays.
func newFullEngine(m *model.Model, c *model.Compiler, o adamW) (*engine, error) {
	t := &fullTarget{config: m.Config}
	e := newEngine(m, c, t, o)
	fail := func(err error) (*engine, error) {
		e.close()
		return nil, err
	}
	for i, weights := range m.Layers {
		flat := make([]float32, 0, t.size(i))
		for _, w := range weights {
			values, err := model.Download[float32](w)
			if err != nil {
				return fail(err)
			}
			flat = append(flat, values...)
		}
		model.FreeAll(weights...)
		m.Layers[i] = nil
		value, err := model.Upload(c.Backend(), flat, len(flat))
		if err != nil {
			return fail(err)
		}
		if e.layers[i], err = newGroup(e.constants, fmt.Sprintf("layer.%d", i), value, "layer", t.decayMask); err != nil {
			return fail(err)
		}
	}
	var err error
	if e.embed, err = newGroup(e.constants, "embed", m.Embed, "all", nil); err != nil {
		return fail(err)
	}
	if e.norm, err = newGroup(e.constants, "norm", m.Norm, "none", func([]float32) {}); err != nil {
		return fail(err)
	}
	if !m.Config.Tied {
		if e.head, err = newGroup(e.constants, "head", m.Head, "all", nil); err != nil {
			return fail(err)
		}
	}
	m.Embed, m.Norm, m.Head = nil, nil, nil
	return e, nil
}

// decayMask marks the elements of a layer's flat array to which weight decay applies.
func (t *fullTarget) decayMask(mask []float32) {
	offset := 0
	for _, tensor := range t.config.LayerTensors() {
		end := offset + int(tensor.Size())
		if decays(tensor.Name) {
			for i := offset; i < end; i++ {
				mask[i] = 1
			}
		}
		offset = end
	}
}
