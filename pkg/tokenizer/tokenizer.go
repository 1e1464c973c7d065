// Package tokenizer turns text into token ids and back, with the tokenizer.json of a model folder,
// as the library of Hugging Face does it: through the library itself, and where byte-level BPE meets
// text that needs no normalization, by a quicker way of its own to the same ids. Text of users is
// encoded without any added token, so that no control token can come out of it.
package tokenizer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"descant/pkg/chat"
)

// Tokenizer is the tokenizer of one model. It is safe for concurrent use.
type Tokenizer struct {
	mu     sync.RWMutex // held for writing by Close only
	closed bool
	pairs  *bytePairs // nil where only the library knows how
	plain  library    // without added tokens
	whole  library    // with them

	added    *addedTokens
	bytes    *byteTable // nil where the decoder is not byte-level
	pieces   *pieces    // nil where the decoder is not that of SentencePiece with byte fallback
	size     int
	nul      int32 // id of the byte 0, -1 where there is none
	special  specialTokens
	digest   string
	template *chat.Template
}

// Load reads tokenizer.json, tokenizer_config.json, generation_config.json, config.json and
// chat_template.jinja of a model folder; only the first must be there.
func Load(dir string) (*Tokenizer, error) {
	path := filepath.Join(dir, "tokenizer.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("load tokenizer: %w (a model folder holds tokenizer.json; models with only tokenizer.model are not supported)", err)
	}
	t, err := fromJSON(data)
	if err != nil {
		return nil, fmt.Errorf("load tokenizer %s: %w", path, err)
	}
	if err := t.readSpecial(dir); err != nil {
		t.Close()
		return nil, fmt.Errorf("load tokenizer of %s: %w", dir, err)
	}
	return t, nil
}

func fromJSON(data []byte) (*Tokenizer, error) {
	var file struct {
		Added   []AddedToken    `json:"added_tokens"`
		Decoder json.RawMessage `json:"decoder"`
		Model   struct {
			Vocab json.RawMessage `json:"vocab"`
		} `json:"model"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	vocab := map[string]int32{}
	// The vocabulary of a Unigram model is a list: it has no byte-level decoder, nothing needs it.
	strange := json.Unmarshal(file.Model.Vocab, &vocab)
	t := &Tokenizer{added: newAddedTokens(file.Added), nul: -1}
	sum := sha256.Sum256(data)
	t.digest = "sha256:" + hex.EncodeToString(sum[:])
	for _, id := range vocab {
		t.size = max(t.size, int(id)+1)
	}
	for _, a := range file.Added {
		t.size = max(t.size, int(a.ID)+1)
	}
	if bytes.Contains(file.Decoder, []byte(`"ByteLevel"`)) {
		t.bytes = newByteTable(vocab, file.Added, t.size)
		if id, ok := vocab["Ā"]; ok {
			t.nul = id
		}
	} else {
		t.pieces = newPieces(file.Decoder, vocab, file.Added, t.size)
	}
	t.whole.json = func() ([]byte, error) { return withoutLimits(data) }
	t.plain.json = func() ([]byte, error) { return withoutAdded(data) }
	if strange == nil {
		t.pairs = newBytePairs(data, vocab)
	}
	if t.pairs == nil {
		if _, err := t.plain.open(); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// withoutLimits returns tokenizer.json without truncation and padding.
func withoutLimits(data []byte) ([]byte, error) {
	return without(data, "truncation", "padding")
}

// withoutAdded returns it without added tokens, too.
func withoutAdded(data []byte) ([]byte, error) {
	return without(data, "truncation", "padding", "post_processor", "added_tokens")
}

// without returns tokenizer.json without some of its parts.
func without(data []byte, names ...string) ([]byte, error) {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return nil, err
	}
	changed := false
	for _, name := range names {
		empty := "null"
		if name == "added_tokens" {
			empty = "[]"
		}
		if string(parts[name]) != empty {
			parts[name], changed = json.RawMessage(empty), true
		}
	}
	if !changed {
		return data, nil
	}
	return json.Marshal(parts)
}

// Close frees the native parts. Calls after it return nothing.
func (t *Tokenizer) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.whole.close()
	t.plain.close()
}

// Encode returns the ids of text. Added tokens in it are recognised: use it for text that no user
// wrote. Nothing is put before or behind.
func (t *Tokenizer) Encode(text string) []int32 {
	return ids(t.encode(nil, text, 0, t.whole.encode))
}

// EncodePlain returns the ids of text as a user's text: no added token comes out of it, marked
// special or not.
func (t *Tokenizer) EncodePlain(text string) []int32 {
	return ids(t.encodePlain(nil, text, 0))
}

// EncodeDocument returns the ids of a text that is trained without a chat template, as TRL makes them: bos_token where the
// tokenizer puts one in front, the text as a user's text, and the eos_token. No eos_token is an error.
func (t *Tokenizer) EncodeDocument(text string) ([]int32, error) {
	end := t.TokenID(t.special.texts["eos_token"])
	if end < 0 && len(t.special.eos) > 0 {
		end = t.special.eos[0]
	}
	if end < 0 {
		return nil, errors.New("the tokenizer has no eos_token to end a text with")
	}
	return append(t.EncodeText(text), end), nil
}

// EncodeText returns the ids of a text from which a model goes on: those of EncodeDocument without the eos_token.
func (t *Tokenizer) EncodeText(text string) []int32 {
	t.mu.RLock()
	bos := t.whole.putsFirst(t.special.bos)
	t.mu.RUnlock()
	if bos {
		return append([]int32{t.special.bos}, t.EncodePlain(text)...)
	}
	return t.EncodePlain(text)
}

// piece is a token with the bytes [start, end) of the text it stands for.
type piece struct {
	id         int32
	start, end int
}

func ids(pieces []piece) []int32 {
	out := make([]int32, len(pieces))
	for i, p := range pieces {
		out[i] = p.id
	}
	return out
}

// encodePlain appends the tokens of a user's text whose first byte is at base.
func (t *Tokenizer) encodePlain(out []piece, text string, base int) []piece {
	before := len(out)
	out = t.encode(out, text, base, t.plainPieces)
	if !slices.ContainsFunc(out[before:], func(p piece) bool { return t.added.has(p.id) }) {
		return out
	}
	// The vocabulary itself holds the added token, and its letters merge into it: one letter at a
	// time they cannot.
	out = out[:before]
	for i, r := range text {
		from := len(out)
		out = t.encode(out, string(r), base+i, t.plainPieces)
		out = append(out[:from], slices.DeleteFunc(out[from:], func(p piece) bool { return t.added.has(p.id) })...)
	}
	return out
}

// plainPieces encodes a text that holds no byte of value 0.
func (t *Tokenizer) plainPieces(out []piece, text string, base int) []piece {
	if t.pairs != nil && t.pairs.takes(text) {
		return t.pairs.encode(out, text, base)
	}
	return t.plain.encode(out, text, base)
}

// encode appends the tokens of a text. The library takes it as a C string: bytes of value 0 are encoded here.
func (t *Tokenizer) encode(out []piece, text string, base int, part func(out []piece, text string, base int) []piece) []piece {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.closed {
		return out
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	for at := 0; ; {
		some, _, more := strings.Cut(text[at:], "\x00")
		if some != "" {
			out = part(out, some, base+at)
		}
		at += len(some)
		if !more {
			return out
		}
		if t.nul >= 0 {
			out = append(out, piece{t.nul, base + at, base + at + 1})
		}
		at++
	}
}

// VocabSize returns the number of ids: the largest id that stands for text, plus one. A model may
// have more rows in its embedding.
func (t *Tokenizer) VocabSize() int { return t.size }

// Digest returns sha256:… of tokenizer.json.
func (t *Tokenizer) Digest() string { return t.digest }

// Decode returns the text of ids; bytes that are no UTF-8 become U+FFFD, ids without text nothing.
// With skipSpecial tokens marked special are left out. decode(encode(x)) is the NFC form of x where
// the tokenizer normalises.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	if t.bytes != nil {
		var b []byte
		for _, id := range ids {
			b = append(b, t.tokenBytes(id, skipSpecial)...)
		}
		return lossy(b)
	}
	known := make([]uint32, 0, len(ids))
	for _, id := range ids {
		if id >= 0 && int(id) < t.size {
			known = append(known, uint32(id))
		}
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	native := t.whole.get()
	if native == nil || len(known) == 0 {
		return ""
	}
	text, err := native.DecodeErr(known, skipSpecial)
	if err != nil {
		return ""
	}
	return text
}

// TokenText is the text of one token for people. Bytes that are no characters by themselves, as tokens may hold a part
// of a character, are written as <0xE4>.
func (t *Tokenizer) TokenText(id int32) string {
	if t.bytes == nil && t.pieces == nil {
		return t.Decode([]int32{id}, false)
	}
	var out strings.Builder
	for data := t.tokenBytes(id, false); len(data) > 0; {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&out, "<0x%02X>", data[0])
		} else {
			out.Write(data[:n])
		}
		data = data[n:]
	}
	return out.String()
}

// TokenBytes are the bytes of one token, those of control tokens too; they may be a part of a character.
func (t *Tokenizer) TokenBytes(id int32) []byte {
	if t.bytes == nil && t.pieces == nil {
		return []byte(t.Decode([]int32{id}, false))
	}
	return t.tokenBytes(id, false)
}

// Vocabulary are the bytes that each id adds to a text, none for tokens that are marked special. first are those that it adds
// where a text begins with it, nil where that is the same. ok says whether there are such bytes: they are known of
// byte-level tokenizers and of SentencePiece with byte fallback.
func (t *Tokenizer) Vocabulary() (tokens, first [][]byte, ok bool) {
	if t.bytes == nil && t.pieces == nil {
		return nil, nil, false
	}
	tokens = make([][]byte, t.size)
	for id := range tokens {
		tokens[id] = t.tokenBytes(int32(id), true)
	}
	if t.pieces != nil && t.pieces.strips {
		first = make([][]byte, t.size)
		for id := range first {
			first[id] = t.pieces.beginning(tokens[id])
		}
	}
	return tokens, first, true
}

func (t *Tokenizer) tokenBytes(id int32, skipSpecial bool) []byte {
	if id < 0 || int(id) >= t.size || (skipSpecial && t.added.special[id]) {
		return nil
	}
	if t.bytes == nil {
		return t.pieces.of[id]
	}
	return t.bytes.of[id]
}

// ErrNoTemplate says that the model folder has no chat template.
var ErrNoTemplate = errors.New("the model has no chat template (chat_template in tokenizer_config.json, or chat_template.jinja)")
