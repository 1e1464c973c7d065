package tokenizer

import (
	"sync"

	"github.com/daulet/tokenizers"
)

// library is an instance of Hugging Face's library. It takes more memory than everything else here, and rows of conversations
// seldom need it: it is made on first use.
type library struct {
	mu     sync.Mutex
	json   func() ([]byte, error) // what it is made of; nil when it is made, or closed
	native *tokenizers.Tokenizer
}

// get returns the instance, nil when it is closed or the library refuses it.
func (l *library) get() *tokenizers.Tokenizer {
	// Load let the library read the file, or read the same parts of it as strictly; there is nobody to tell.
	native, _ := l.open()
	return native
}

// open is get with the reason for none.
func (l *library) open() (*tokenizers.Tokenizer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.json == nil {
		return l.native, nil
	}
	data, err := l.json()
	l.json = nil
	if err == nil {
		l.native, err = tokenizers.FromBytes(data)
	}
	return l.native, err
}

// encode appends the tokens of a text, nothing where there is no instance.
func (l *library) encode(out []piece, text string, base int) []piece {
	native := l.get()
	if native == nil {
		return out
	}
	// An error here is one of no memory; there is nothing to return.
	enc, err := native.EncodeWithOptionsErr(text, false, tokenizers.WithReturnOffsets())
	if err != nil {
		return out
	}
	for i, id := range enc.IDs {
		out = append(out, piece{int32(id), base + int(enc.Offsets[i][0]), base + int(enc.Offsets[i][1])})
	}
	return out
}

// putsFirst says whether the library puts an id before a text.
func (l *library) putsFirst(id int32) bool {
	native := l.get()
	if native == nil || id < 0 {
		return false
	}
	enc, err := native.EncodeWithOptionsErr("a", true)
	return err == nil && len(enc.IDs) > 1 && int32(enc.IDs[0]) == id
}

func (l *library) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.json = nil
	if l.native != nil {
		// It always returns nil.
		_ = l.native.Close()
		l.native = nil
	}
}
