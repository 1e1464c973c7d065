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
		for _, kind := range []int{0, 1} {
			if err := next.add(kind, c.old(kind, layer), c.context, keep); err != nil {
				next.free()
				return fmt.Errorf("make room for a context of %d tokens: %w", context, err)
			}
		}
	}
	c.free()
	*c = *next
	return nil
}

// old is the present array of keys (0) or values (1), nil if there is none yet.
func (c *cache) old(kind, layer int) *model.Array {
	list := c.keys
	if kind == 1 {
		list = c.values
	}
	if layer < len(list) {
		return list[layer]
	}
	return nil
}

// add appends the array of one more layer, with the first keep positions of old.
func (c *cache) add(kind int, old *model.Array, oldContext, keep int) error {
	var content []float32
	if old != nil && keep > 0 {
		var err error
		if content, err = model.Download[float32](old); err != nil {
			return err
		}
	}
	fill := func(to []float32) error {
		for i := 0; content != nil && i < c.rows*c.config.KVHeads; i++ {
			dim := c.config.HeadDim
			copy(to[i*c.context*dim:][:keep*dim], content[i*oldContext*dim:])
		}
		return nil
	}
	var array *model.Array
	if dims := []int{c.rows, c.config.KVHeads, c.context, c.config.HeadDim}; c.inPlace {
		w, err := model.NewWritable[float32](c.backend, dims...)
		if err != nil {
			return err
		}
		_ = fill(w.Values()) // of memory, which does not fail
		array = w.Array()
		c.keysIn, c.valuesIn = appendTo(kind, c.keysIn, c.valuesIn, w)
	} else {
		var err error
		if array, err = model.Fill(c.backend, fill, dims...); err != nil {
			return err
		}
	}
	c.keys, c.values = appendTo(kind, c.keys, c.values, array)
	return nil
}

// appendTo appends to the keys (kind 0) or the values (1).
func appendTo[T any](kind int, keys, values []T, one T) (k, v []T) {
	if kind == 0 {
		return append(keys, one), values
	}
	return keys, append(values, one)
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
