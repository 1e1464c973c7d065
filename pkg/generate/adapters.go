package generate

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"

	"descant/pkg/lora"
	"descant/pkg/model"
)

// adapter is a loaded adapter: a range of columns of every layer's A and B.
type adapter struct {
	key      string
	from, to int
	// digest is that of its weights: the same adapter under another key, or loaded again, has the same.
	digest string
	// users counts the sequences that were submitted with it; a retired adapter gives its columns back with the last.
	users   int
	retired bool
	// turn is when a request with it last got a row.
	turn int
}

// adapterTable is the directory of the columns. Its methods are called with the engine's mutex held.
type adapterTable struct {
	columns int
	byKey   map[string]*adapter
	// holders are all adapters that have columns: the loaded, the retired that still have users, and the loading.
	holders []*adapter
}

// ErrSlotsFull says that all adapter columns are taken.
var ErrSlotsFull = errors.New("no room for another adapter")

// reserve takes width neighbouring columns.
func (t *adapterTable) reserve(key string, width int) (*adapter, error) {
	at, i := 0, 0
	for ; i < len(t.holders); i++ {
		if t.holders[i].from-at >= width {
			break
		}
		at = t.holders[i].to
	}
	if at+width > t.columns {
		used := 0
		for _, a := range t.holders {
			used += a.to - a.from
		}
		return nil, fmt.Errorf("load adapter %q: %w: it needs %d neighbouring columns (its rank), and %d of %d are taken: "+
			"unload another adapter, or start with more slots or a larger rank", key, ErrSlotsFull, width, used, t.columns)
	}
	a := &adapter{key: key, from: at, to: at + width}
	t.holders = slices.Insert(t.holders, i, a)
	return a, nil
}

// publish makes a written adapter the one that its key names, and retires the one before.
func (t *adapterTable) publish(a *adapter) {
	if before := t.byKey[a.key]; before != nil {
		t.retire(before)
	}
	t.byKey[a.key] = a
}

// retire takes an adapter out of the directory; its columns stay until its last user is done.
func (t *adapterTable) retire(a *adapter) {
	if t.byKey[a.key] == a {
		delete(t.byKey, a.key)
	}
	a.retired = true
	t.release(a)
}

// release gives the columns of a retired adapter without users back.
func (t *adapterTable) release(a *adapter) {
	if a.retired && a.users == 0 {
		t.holders = slices.DeleteFunc(t.holders, func(h *adapter) bool { return h == a })
	}
}

// digestOf is the sha256 of what an adapter does to a base: modules, ranks, scales and matrices.
func digestOf(weights *lora.Adapter) string {
	h := sha256.New()
	for layer := range weights.Layers {
		// A hash never fails to take what is written.
		_, _ = fmt.Fprintf(h, "%d %s %d\n", layer, weights.Signature(layer), len(weights.Flats[layer]))
		_, _ = h.Write(model.AsBytes(weights.Flats[layer]))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// readAdapter reads an adapter folder for a base.
func readAdapter(cfg *model.Config, dir string) (*lora.Adapter, error) {
	weights, err := lora.Load(cfg, dir)
	if err != nil {
		return nil, err
	}
	for layer, flat := range weights.Flats {
		for _, v := range flat {
			// A row that masks the adapter out still multiplies its B by 0, and 0·NaN is NaN.
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return nil, fmt.Errorf("%s holds a value that is no finite number in layer %d: its training has "+
					"diverged, use an earlier checkpoint", dir, layer)
			}
		}
	}
	return weights, nil
}

// widthOf is the number of columns that an adapter needs: the largest rank of its modules.
func widthOf(weights *lora.Adapter) (width int) {
	for _, modules := range weights.Layers {
		for _, m := range modules {
			width = max(width, m.Rank)
		}
	}
	return width
}
