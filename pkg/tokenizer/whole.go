package tokenizer

import (
	"sync"

	"github.com/daulet/tokenizers"
)

// wholeTokenizer is the instance that recognises added tokens. Rows of conversations never need it, and it takes as much
// memory as the other one: it is made on first use.
type wholeTokenizer struct {
	mu     sync.Mutex
	json   []byte // what it is made of; nil when it is made, or closed
	native *tokenizers.Tokenizer
}

// get returns the instance, nil when it is closed or the library refuses it.
func (w *wholeTokenizer) get() *tokenizers.Tokenizer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.json != nil {
		// The library read the same file without added tokens when the model was loaded; there is nobody to tell.
		w.native, _ = tokenizers.FromBytes(w.json)
		w.json = nil
	}
	return w.native
}

// putsFirst says whether the library puts an id before a text.
func (w *wholeTokenizer) putsFirst(id int32) bool {
	native := w.get()
	if native == nil || id < 0 {
		return false
	}
	enc, err := native.EncodeWithOptionsErr("a", true)
	return err == nil && len(enc.IDs) > 1 && int32(enc.IDs[0]) == id
}

func (w *wholeTokenizer) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.json = nil
	if w.native != nil {
		// It always returns nil.
		_ = w.native.Close()
		w.native = nil
	}
}
