package model

import "fmt"

// Tensor is one weight that a checkpoint must hold, in the names and shapes of transformers.
type Tensor struct {
	Name  string
	Shape []int
}

// Projection is one of a layer's linear maps.
type Projection struct {
	// Module is its name within the layer, for example "self_attn.q_proj".
	Module  string
	In, Out int
	Bias    bool
}

// Projections lists the linear maps of one decoder layer, in the order of computation.
func (c *Config) Projections() []Projection {
	return []Projection{
		{"self_attn.q_proj", c.Hidden, c.QWidth(), c.QKVBias},
		{"self_attn.k_proj", c.Hidden, c.KVWidth(), c.QKVBias},
		{"self_attn.v_proj", c.Hidden, c.KVWidth(), c.QKVBias},
		{"self_attn.o_proj", c.QWidth(), c.Hidden, c.OutBias},
		{"mlp.gate_proj", c.Hidden, c.Intermediate, c.MLPBias},
		{"mlp.up_proj", c.Hidden, c.Intermediate, c.MLPBias},
		{"mlp.down_proj", c.Intermediate, c.Hidden, c.MLPBias},
	}
}

// SharedInputs lists the same linear maps, those together that are computed from one input.
func (c *Config) SharedInputs() [][]Projection {
	p := c.Projections()
	return [][]Projection{p[0:3], p[3:4], p[4:6], p[6:7]}
}

// Names of the tensors outside the layers.
const (
	EmbedName = "model.embed_tokens.weight"
	NormName  = "model.norm.weight"
	HeadName  = "lm_head.weight"
)

// LayerPrefix is what the names of layer i's tensors begin with.
func LayerPrefix(i int) string { return fmt.Sprintf("model.layers.%d.", i) }

// LayerTensors lists the weights of one decoder layer by their names within the layer; the order is also
// that of the inputs of a layer's graph.
func (c *Config) LayerTensors() []Tensor {
	list := []Tensor{{"input_layernorm.weight", []int{c.Hidden}}}
	if c.QKNorm {
		list = append(list, Tensor{"self_attn.q_norm.weight", []int{c.HeadDim}},
			Tensor{"self_attn.k_norm.weight", []int{c.HeadDim}})
	}
	list = append(list, Tensor{"post_attention_layernorm.weight", []int{c.Hidden}})
	for _, p := range c.Projections() {
		list = append(list, Tensor{p.Module + ".weight", []int{p.Out, p.In}})
		if p.Bias {
			list = append(list, Tensor{p.Module + ".bias", []int{p.Out}})
		}
	}
	return list
}

// Tensors lists all weights of a checkpoint.
func (c *Config) Tensors() []Tensor {
	list := []Tensor{{EmbedName, []int{c.Vocab, c.Hidden}}}
	for i := range c.Layers {
		for _, t := range c.LayerTensors() {
			list = append(list, Tensor{LayerPrefix(i) + t.Name, t.Shape})
		}
	}
	list = append(list, Tensor{NormName, []int{c.Hidden}})
	if !c.Tied {
		list = append(list, Tensor{HeadName, []int{c.Vocab, c.Hidden}})
	}
	return list
}

// Parameters is the number of parameters of the model.
func (c *Config) Parameters() int64 {
	var n int64
	for _, t := range c.Tensors() {
		n += t.Size()
	}
	return n
}

// Size is the number of elements.
func (t Tensor) Size() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= int64(d)
	}
	return n
}

// Memory gives the shape in device memory: linear weights are transposed to [in, out] there. The embedding
// and the head keep [vocab, hidden].
func (t Tensor) Memory() []int {
	if t.transposed() {
		return []int{t.Shape[1], t.Shape[0]}
	}
	return t.Shape
}

func (t Tensor) transposed() bool {
	return len(t.Shape) == 2 && t.Name != EmbedName && t.Name != HeadName
}
