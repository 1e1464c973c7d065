package generate

import (
	"fmt"
	"slices"

	"descant/pkg/model"

	"github.com/gomlx/compute"
)

// cache holds the keys and values of all rows and layers, [rows, heads, context, D] f32 each. Its context grows
// through a few fixed sizes, so that short conversations do not pay for the longest one. Where the graphs update it, each step is given
// the arrays for good and gives them back: one that fails may have lost some.
type cache struct {
	backend compute.Backend
	config  *model.Config
	rows    int
	context int
	inPlace bool
	// keys and values of each layer, and in place the writable arrays that they are.
	keys, values     []*model.Array
	keysIn, valuesIn []*model.Writable[float32]
}

func newCache(backend compute.Backend, config *model.Config, rows int, inPlace bool) *cache {
	return &cache{backend: backend, config: config, rows: rows, inPlace: inPlace}
}

// resize gives the cache room for context positions and keeps what it holds of the first keep ones.
func (c *cache) resize(context, keep int) error {
	if context == c.context {
		return nil
	}
	next := newCache(c.backend, c.config, c.rows, c.inPlace)
	next.context = context
	for layer := range c.config.Layers {
		err := next.add(&next.keys, &next.keysIn, of(c.keys, layer), c.context, keep)
		if err == nil {
			err = next.add(&next.values, &next.valuesIn, of(c.values, layer), c.context, keep)
		}
		if err != nil {
			next.free()
			return fmt.Errorf("make room for a context of %d tokens: %w", context, err)
		}
	}
	c.free()
	*c = *next
	return nil
}

// of is the array of a layer, nil if there is none yet.
func of(list []*model.Array, layer int) *model.Array {
	if layer < len(list) {
		return list[layer]
	}
	return nil
}

// add appends the array of one more layer to a list, with the first keep positions of old, and in place the writable array that it is.
func (c *cache) add(list *[]*model.Array, in *[]*model.Writable[float32], old *model.Array, oldContext, keep int) error {
	var content []float32
	if old != nil && keep > 0 {
		var err error
		if content, err = model.Download[float32](old); err != nil {
			return err
		}
	}
	fill := func(to []float32) error {
		if content == nil {
			return nil
		}
		dim := c.config.HeadDim
		for i := range c.rows * c.config.KVHeads {
			copy(to[i*c.context*dim:][:keep*dim], content[i*oldContext*dim:])
		}
		return nil
	}
	dims := []int{c.rows, c.config.KVHeads, c.context, c.config.HeadDim}
	if !c.inPlace {
		array, err := model.Fill(c.backend, fill, dims...)
		if err != nil {
			return err
		}
		*list = append(*list, array)
		return nil
	}
	w, err := model.NewWritable[float32](c.backend, dims...)
	if err != nil {
		return err
	}
	*in, *list = append(*in, w), append(*list, w.Array())
	return fill(w.Values())
}

// lost says that a step that failed has taken something of the cache with it.
func (c *cache) lost() bool {
	return slices.ContainsFunc(slices.Concat(c.keys, c.values), func(a *model.Array) bool { return a.Freed() })
}

// renew makes an empty cache of the same size.
func (c *cache) renew() error {
	next := newCache(c.backend, c.config, c.rows, c.inPlace)
	if err := next.resize(c.context, 0); err != nil {
		return err
	}
	c.free()
	*c = *next
	return nil
}

// write puts one token's new keys and values, [heads, D] each, at a position of a row (in place only).
func (c *cache) write(layer, row, position int, keys, values []float32) {
	dim := c.config.HeadDim
	for h := range c.config.KVHeads {
		at := ((row*c.config.KVHeads+h)*c.context + position) * dim
		copy(c.keysIn[layer].Values()[at:at+dim], keys[h*dim:])
		copy(c.valuesIn[layer].Values()[at:at+dim], values[h*dim:])
	}
}

// eachPart visits the positions [from, from+blockTokens) of a row, one layer, kind and head after the other: what a
// block of the prefix cache holds (in place only).
func (c *cache) eachPart(row, from int, visit func(at int, part []float32)) {
	size, n := blockTokens*c.config.HeadDim, 0
	for layer := range c.config.Layers {
		for _, w := range []*model.Writable[float32]{c.keysIn[layer], c.valuesIn[layer]} {
			for h := range c.config.KVHeads {
				at := ((row*c.config.KVHeads+h)*c.context + from) * c.config.HeadDim
				visit(n, w.Values()[at:at+size])
				n += size
			}
		}
	}
}

// readBlock copies the content of a block: [layers, 2, heads, blockTokens, D] (in place only).
func (c *cache) readBlock(row, from int) []float32 {
	content := make([]float32, c.config.Layers*2*c.config.KVHeads*blockTokens*c.config.HeadDim)
	c.eachPart(row, from, func(at int, part []float32) { copy(content[at:], part) })
	return content
}

// writeBlock puts the content of a block into a row (in place only).
func (c *cache) writeBlock(row, from int, content []float32) {
	c.eachPart(row, from, func(at int, part []float32) { copy(part, content[at:]) })
}

// replace takes the updated arrays of a layer, whose old ones the step was given (not in place only).
func (c *cache) replace(layer int, keys, values *model.Array) {
	c.keys[layer], c.values[layer] = keys, values
}

func (c *cache) free() {
	model.FreeAll(c.keys...)
	model.FreeAll(c.values...)
	c.keys, c.values, c.keysIn, c.valuesIn = nil, nil, nil, nil
}
