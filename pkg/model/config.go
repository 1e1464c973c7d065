package model

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Config is the architecture of a model as config.json tells it, in the names of the graph functions.
type Config struct {
	// Family is the model_type of config.json.
	Family string
	// Vocab is the number of rows of the embedding. It may exceed the number of tokens of the tokenizer:
	// the surplus rows take part in every softmax all the same.
	Vocab int
	// Hidden is the width of the residual stream, Intermediate that of the gated MLP.
	Hidden, Intermediate int
	// Layers is the number of decoder layers.
	Layers int
	// Heads and KVHeads are the numbers of query heads and of key/value heads; HeadDim is the width of each.
	Heads, KVHeads, HeadDim int
	// MaxPositions is the longest context that the model was made for, in tokens.
	MaxPositions int
	// Eps is the epsilon of every RMSNorm.
	Eps float64
	// Tied says that the head uses the embedding's matrix.
	Tied bool
	// QKVBias, OutBias and MLPBias say which linear layers have a bias.
	QKVBias, OutBias, MLPBias bool
	// QKNorm says that every query and key head goes through an RMSNorm before the rotation.
	QKNorm bool
	// Windows are the sliding windows of the layers in tokens, see [Config.Window]; nil where no layer has one.
	Windows []int
	// Rope holds the rotary position embedding.
	Rope Rope
	// Stored is the dtype that config.json gives for the files: "float32", "bfloat16", …, or "".
	Stored string
}

// QWidth is the width of all query heads together.
func (c *Config) QWidth() int { return c.Heads * c.HeadDim }

// KVWidth is the width of all key heads (and of all value heads) together.
func (c *Config) KVWidth() int { return c.KVHeads * c.HeadDim }

// Window is the sliding window of a layer: a token looks at itself and the window-1 tokens before it. 0 means all
// earlier ones.
func (c *Config) Window(layer int) int {
	if c.Windows == nil {
		return 0
	}
	return c.Windows[layer]
}

// MaxContext is the longest sequence that can be computed as the reference does: MaxPositions, and factor times
// that with dynamic rope scaling, which stretches the frequencies of longer sequences.
func (c *Config) MaxContext() int {
	return int(float64(c.MaxPositions) * max(1, c.Rope.stretch))
}

// Supported says whether models of this model_type can be read.
func Supported(modelType string) bool {
	_, ok := families()[modelType]
	return ok
}

// Families lists the supported values of model_type.
func Families() []string { return slices.Sorted(maps.Keys(families())) }

// family reads what is special to one model_type.
type family func(r *reader, c *Config)

// families maps each model_type to its reader; each has a file of its own.
func families() map[string]family {
	return map[string]family{"qwen2": qwen2, "qwen3": qwen3, "llama": llama, "mistral": mistral}
}

// ReadConfig reads config.json of a model folder.
func ReadConfig(dir string) (*Config, error) {
	path := filepath.Join(dir, "config.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read model configuration: %w; a model folder holds config.json, model.safetensors and "+
			"the tokenizer's files", err)
	}
	c, err := ParseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// ParseConfig reads the text of a config.json in any of the layouts of transformers 4 and 5.
//
// What would change the numbers and is not supported is refused, with the whole list of problems.
func ParseConfig(data []byte) (*Config, error) {
	r, err := newReader(data)
	if err != nil {
		return nil, err
	}
	c := &Config{Family: r.text("model_type", "")}
	read, ok := families()[c.Family]
	if !ok {
		return nil, fmt.Errorf("model_type %q is not supported: choose a base of one of %s (Qwen2, Qwen2.5, Qwen3, "+
			"Llama 2 and 3, Yi in the Llama layout, Mistral)", c.Family, strings.Join(Families(), ", "))
	}
	c.Vocab = r.positive("vocab_size")
	c.Hidden = r.positive("hidden_size")
	c.Intermediate = r.positive("intermediate_size")
	c.Layers = r.positive("num_hidden_layers")
	c.Heads = r.positive("num_attention_heads")
	c.KVHeads = r.integer("num_key_value_heads", c.Heads)
	c.MaxPositions = r.positive("max_position_embeddings")
	c.Eps = r.number("rms_norm_eps", 1e-6)
	c.Tied = r.boolean("tie_word_embeddings")
	c.HeadDim = r.integer("head_dim", c.Hidden/max(1, c.Heads))
	c.Stored = r.text("torch_dtype", r.text("dtype", ""))
	read(r, c)
	c.Rope = readRope(r, c)
	r.refuseCommon()
	r.checkLayerTypes(c)
	c.check(r)
	if err := r.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// check looks at relations between fields.
func (c *Config) check(r *reader) {
	if len(r.problems) > 0 {
		return
	}
	if c.KVHeads < 1 || c.Heads%c.KVHeads != 0 {
		r.problem("num_attention_heads %d is not a multiple of num_key_value_heads %d", c.Heads, c.KVHeads)
	}
	if c.HeadDim < 2 || c.HeadDim%2 != 0 {
		r.problem("head_dim %d is not an even number from 2", c.HeadDim)
	}
	if c.Eps <= 0 {
		r.problem("rms_norm_eps %g is not above 0", c.Eps)
	}
}
