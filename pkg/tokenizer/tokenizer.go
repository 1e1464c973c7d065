// Package tokenizer turns text into token ids and back, with the tokenizer.json of a model folder,
// through the library of Hugging Face itself. Text of users is encoded by a second instance without
// any added token, so that no control token can come out of it.
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

	"github.com/daulet/tokenizers"

	"descant/pkg/chat"
)

// Tokenizer is the tokenizer of one model. It is safe for concurrent use.
type Tokenizer struct {
	mu    sync.RWMutex          // held for writing by Close only
	plain *tokenizers.Tokenizer // without added tokens
	whole wholeTokenizer

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
	_ = json.Unmarshal(file.Model.Vocab, &vocab)
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
	full, plain, err := twoForms(data)
	if err != nil {
		return nil, err
	}
	t.whole.json = full
	if t.plain, err = tokenizers.FromBytes(plain); err != nil {
		return nil, err
	}
	return t, nil
}

// twoForms returns tokenizer.json without truncation and padding, and the same without added tokens.
func twoForms(data []byte) (full, plain []byte, err error) {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return nil, nil, err
	}
	null := json.RawMessage("null")
	full = data
	if string(parts["truncation"]) != "null" || string(parts["padding"]) != "null" {
		parts["truncation"], parts["padding"] = null, null
		if full, err = json.Marshal(parts); err != nil {
			return nil, nil, err
		}
	}
	parts["added_tokens"], parts["post_processor"] = json.RawMessage("[]"), null
	plain, err = json.Marshal(parts)
	return full, plain, err
}

// Close frees the native parts. Calls after it return nothing.
func (t *Tokenizer) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.whole.close()
	if t.plain != nil {
		// It always returns nil.
		_ = t.plain.Close()
		t.plain = nil
	}
}

// Encode returns the ids of text. Added tokens in it are recognised: use it for text that no user
// wrote. Nothing is put before or behind.
func (t *Tokenizer) Encode(text string) []int32 {
	return ids(t.encode(t.whole.get, text))
}

// EncodePlain returns the ids of text as a user's text: no added token comes out of it, marked
// special or not.
func (t *Tokenizer) EncodePlain(text string) []int32 {
	return ids(t.encodePlain(text))
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

func (t *Tokenizer) encodePlain(text string) []piece {
	out := t.encode(t.native, text)
	if !slices.ContainsFunc(out, func(p piece) bool { return t.added.ids[p.id] }) {
		return out
	}
	// The vocabulary itself holds the added token, and its letters merge into it: one letter at a
	// time they cannot.
	out = out[:0]
	for i, r := range text {
		for _, p := range t.encode(t.native, string(r)) {
			if !t.added.ids[p.id] {
				out = append(out, piece{p.id, i + p.start, i + p.end})
			}
		}
	}
	return out
}

func (t *Tokenizer) native() *tokenizers.Tokenizer { return t.plain }

// encode encodes text, which the library takes as a C string: bytes of value 0 are encoded here.
func (t *Tokenizer) encode(which func() *tokenizers.Tokenizer, text string) []piece {
	t.mu.RLock()
	defer t.mu.RUnlock()
	native := which()
	if native == nil {
		return nil
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	var out []piece
	for at := 0; ; {
		part, _, more := strings.Cut(text[at:], "\x00")
		if part != "" {
			// An error here is a closed tokenizer or no memory; there is nothing to return.
			enc, err := native.EncodeWithOptionsErr(part, false, tokenizers.WithReturnOffsets())
			if err != nil {
				return nil
			}
			for i, id := range enc.IDs {
				out = append(out, piece{int32(id), at + int(enc.Offsets[i][0]), at + int(enc.Offsets[i][1])})
			}
		}
		at += len(part)
		if !more {
			return out
		}
		if t.nul >= 0 {
			out = append(out, piece{t.nul, at, at + 1})
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
	if t.bytes == nil {
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
	if t.bytes == nil {
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
		switch {
		case t.bytes != nil:
			tokens[id] = t.tokenBytes(int32(id), true)
		case !t.added.special[int32(id)]:
			tokens[id] = t.pieces.of[id]
		}
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
	return t.bytes.of[id]
}

// ErrNoTemplate says that the model folder has no chat template.
var ErrNoTemplate = errors.New("the model has no chat template (chat_template in tokenizer_config.json, or chat_template.jinja)")
