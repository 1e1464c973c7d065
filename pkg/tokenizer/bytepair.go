package tokenizer

import (
	"bytes"
	"encoding/json"
	"hash/maphash"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/daulet/tokenizers"
)

// bytePairs is byte-level BPE as the library does it, for text that needs no normalization, several times as quickly: the
// library keeps for every step where each character came from. Tests hold both against each other.
type bytePairs struct {
	splitter
	bytes  [256]int32
	merges pairTable
	// length is how many bytes each token stands for.
	length []uint16
	// words are ids of whole words that are taken without merging, nil where the model merges always.
	words map[string]int32

	seed    maphash.Seed
	cache   []atomic.Pointer[cachedWord]
	scratch sync.Pool // of *[]pair
}

// cachedWord is a word with its tokens.
type cachedWord struct {
	text   string
	pieces []wordPiece
}

// wordPiece is a token of a word with the bytes of the characters that it is of.
type wordPiece struct {
	id         int32
	start, end uint16
}

// cacheSize bounds the words that are kept, longestCached the bytes of each.
const (
	cacheSize     = 1 << 14
	longestCached = 256
)

// bytePairFile is tokenizer.json as far as it decides on the ids of text without added tokens.
type bytePairFile struct {
	Version      json.RawMessage `json:"version"`
	Normalizer   json.RawMessage `json:"normalizer"`
	PreTokenizer json.RawMessage `json:"pre_tokenizer"`
	Decoder      json.RawMessage `json:"decoder"`
	Model        bytePairModel   `json:"model"`
}

type bytePairModel struct {
	Type         string
	Dropout      any
	Unknown      any             `json:"unk_token"`
	Prefix       string          `json:"continuing_subword_prefix"`
	Suffix       string          `json:"end_of_word_suffix"`
	ByteFallback bool            `json:"byte_fallback"`
	IgnoreMerges bool            `json:"ignore_merges"`
	Merges       json.RawMessage `json:"merges"`
}

// newBytePairs makes the model of a tokenizer.json with its vocabulary, nil where it does anything else than byte-level BPE of
// the words of a known pattern, or the library would refuse it: that is for the library.
func newBytePairs(data []byte, vocab map[string]int32) *bytePairs {
	var file bytePairFile
	if json.Unmarshal(data, &file) != nil {
		return nil
	}
	split, ok := file.splitter()
	model := file.Model
	if !ok || model.Type != "BPE" || model.Dropout != nil || model.Unknown != nil || model.Prefix != "" || model.Suffix != "" || model.ByteFallback {
		return nil
	}
	m := &bytePairs{splitter: split, seed: maphash.MakeSeed(), cache: make([]atomic.Pointer[cachedWord], cacheSize)}
	if !m.readVocabulary(vocab, model.IgnoreMerges) || !m.readMerges(vocab, model.Merges) {
		return nil
	}
	return m
}

// splitter finds the words of the file, if it knows how and the library takes all of the file but the model.
func (f bytePairFile) splitter() (s splitter, ok bool) {
	var normalizer *struct{ Type string }
	var sequence struct {
		Type          string
		Pretokenizers []struct {
			Type           string
			Pattern        struct{ Regex string }
			Behavior       string
			Invert         bool
			AddPrefixSpace bool  `json:"add_prefix_space"`
			UseRegex       *bool `json:"use_regex"`
		}
	}
	var decoder struct{ Type string }
	if json.Unmarshal(f.Normalizer, &normalizer) != nil || json.Unmarshal(f.PreTokenizer, &sequence) != nil || json.Unmarshal(f.Decoder, &decoder) != nil {
		return s, false
	}
	if normalizer != nil && normalizer.Type != "NFC" || sequence.Type != "Sequence" || len(sequence.Pretokenizers) != 2 || decoder.Type != "ByteLevel" {
		return s, false
	}
	split, level := sequence.Pretokenizers[0], sequence.Pretokenizers[1]
	digits, known := wordPatterns[split.Pattern.Regex]
	if !known || split.Type != "Split" || split.Behavior != "Isolated" || split.Invert ||
		level.Type != "ByteLevel" || level.AddPrefixSpace || level.UseRegex == nil || *level.UseRegex {
		return s, false
	}
	return splitter{classTable(), digits, normalizer != nil}, f.valid()
}

// valid lets the library read the file with an empty model: where the whole is made later, it is too late to refuse it.
func (f bytePairFile) valid() bool {
	data, err := json.Marshal(map[string]any{
		"version": f.Version, "normalizer": f.Normalizer, "pre_tokenizer": f.PreTokenizer, "decoder": f.Decoder,
		"added_tokens": []any{}, "model": map[string]any{"type": "BPE", "vocab": map[string]any{}, "merges": []any{}},
	})
	if err != nil {
		return false
	}
	native, err := tokenizers.FromBytes(data)
	if err != nil {
		return false
	}
	// It always returns nil.
	_ = native.Close()
	return true
}

// readVocabulary takes the ids of the single bytes; all must be there.
func (m *bytePairs) readVocabulary(vocab map[string]int32, words bool) bool {
	alphabet := byteAlphabet()
	for r, b := range alphabet {
		id, ok := vocab[string(r)]
		if !ok {
			return false
		}
		m.bytes[b] = id
	}
	size := int32(0)
	for _, id := range vocab {
		if id < 0 {
			return false
		}
		size = max(size, id+1)
	}
	m.length = make([]uint16, size)
	if words {
		m.words = make(map[string]int32, len(vocab))
	}
	for token, id := range vocab {
		n := utf8.RuneCountInString(token)
		if n > math.MaxUint16 {
			return false
		}
		m.length[id] = uint16(n)
		if !words {
			continue
		}
		if text, ok := alphabet.bytes(token); ok {
			m.words[string(text)] = id
		}
	}
	return true
}

// readMerges takes the merges, whose tokens must all be in the vocabulary.
func (m *bytePairs) readMerges(vocab map[string]int32, raw json.RawMessage) bool {
	var list [][2]string
	if bytes.HasPrefix(bytes.TrimLeft(raw[min(1, len(raw)):], " \t\r\n"), []byte(`"`)) {
		var lines []string
		if json.Unmarshal(raw, &lines) != nil {
			return false
		}
		list = make([][2]string, len(lines))
		for i, line := range lines {
			left, right, ok := strings.Cut(line, " ")
			if !ok || strings.Contains(right, " ") {
				return false
			}
			list[i] = [2]string{left, right}
		}
	} else if json.Unmarshal(raw, &list) != nil {
		return false
	}
	m.merges = newPairTable(len(list))
	for rank, merge := range list {
		left, ok1 := vocab[merge[0]]
		right, ok2 := vocab[merge[1]]
		id, ok3 := vocab[merge[0]+merge[1]]
		if !ok1 || !ok2 || !ok3 {
			return false
		}
		m.merges.put(left, right, pair(rank)<<32|pair(id))
	}
	return true
}

// encode appends the tokens of a text that the splitter takes; its first byte is at base.
func (m *bytePairs) encode(out []piece, text string, base int) []piece {
	for i := 0; i < len(text); {
		end := m.word(text, i)
		out = m.encodeWord(out, text[i:end], base+i)
		i = end
	}
	return out
}

func (m *bytePairs) encodeWord(out []piece, word string, base int) []piece {
	if len(word) == 1 {
		return append(out, piece{m.bytes[word[0]], base, base + 1})
	}
	if len(word) > longestCached {
		return m.merge(out, word, base)
	}
	slot := &m.cache[maphash.String(m.seed, word)%cacheSize]
	found := slot.Load()
	if found == nil || found.text != word {
		pieces := m.merge(nil, word, 0)
		found = &cachedWord{strings.Clone(word), make([]wordPiece, len(pieces))}
		for i, p := range pieces {
			found.pieces[i] = wordPiece{p.id, uint16(p.start), uint16(p.end)}
		}
		slot.Store(found)
	}
	for _, p := range found.pieces {
		out = append(out, piece{p.id, base + int(p.start), base + int(p.end)})
	}
	return out
}

// merge appends the tokens of a word.
func (m *bytePairs) merge(out []piece, word string, base int) []piece {
	if id, ok := m.words[word]; ok {
		return append(out, piece{id, base, base + len(word)})
	}
	buf, _ := m.scratch.Get().(*[]symbol)
	if buf == nil {
		buf = new([]symbol)
	}
	symbols := (*buf)[:0]
	for i := range len(word) {
		symbols = append(symbols, symbol{id: m.bytes[word[i]]})
	}
	if len(symbols) <= longestCached {
		symbols = m.merges.mergeShort(symbols)
	} else {
		symbols = m.merges.mergeLong(symbols)
	}
	at := 0
	for _, s := range symbols {
		start, end := at, at+int(m.length[s.id])
		at = end
		for !utf8.RuneStart(word[start]) {
			start--
		}
		for end < len(word) && !utf8.RuneStart(word[end]) {
			end++
		}
		out = append(out, piece{s.id, base + start, base + end})
	}
	*buf = symbols
	m.scratch.Put(buf)
	return out
}
