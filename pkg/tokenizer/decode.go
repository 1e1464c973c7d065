package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// byteTable holds the bytes of every token of a byte-level vocabulary.
type byteTable struct{ of [][]byte }

// alphabet is how byte-level BPE (GPT-2) writes bytes: printable ones stand for themselves, the other 68 for U+0100 and up.
type alphabet map[rune]byte

func byteAlphabet() alphabet {
	a := alphabet{}
	next := rune(0x100)
	for b := range 256 {
		switch {
		case b >= '!' && b <= '~', b >= 0xa1 && b <= 0xac, b >= 0xae:
			a[rune(b)] = byte(b)
		default:
			a[next] = byte(b)
			next++
		}
	}
	return a
}

// bytes are those that a token stands for; false where it is not written in the alphabet.
func (a alphabet) bytes(token string) ([]byte, bool) {
	out := make([]byte, 0, len(token))
	for _, r := range token {
		b, ok := a[r]
		if !ok {
			return nil, false
		}
		out = append(out, b)
	}
	return out, true
}

// newByteTable resolves the tokens of a vocabulary.
func newByteTable(vocab map[string]int32, added []AddedToken, size int) *byteTable {
	alphabet := byteAlphabet()
	resolve := func(token string) []byte {
		if out, ok := alphabet.bytes(token); ok {
			return out
		}
		return []byte(token)
	}
	t := &byteTable{of: make([][]byte, size)}
	for token, id := range vocab {
		if id >= 0 {
			t.of[id] = resolve(token)
		}
	}
	for _, a := range added {
		if a.ID >= 0 {
			t.of[a.ID] = resolve(a.Content)
		}
	}
	return t
}

// lossy decodes UTF-8; every longest prefix of a character that is not completed becomes one U+FFFD,
// as the Unicode standard recommends and Rust does.
func lossy(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var out strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n <= 1 {
			n = max(1, partial(b))
		}
		out.WriteRune(r)
		b = b[n:]
	}
	return out.String()
}

// partial returns how many bytes at the start of b begin a character without completing it, 0 where
// they begin none.
func partial(b []byte) int {
	low, high := byte(0x80), byte(0xbf)
	var need int
	switch c := b[0]; {
	case c >= 0xc2 && c <= 0xdf:
		need = 1
	case c >= 0xe0 && c <= 0xef:
		need = 2
		if c == 0xe0 {
			low = 0xa0
		}
		if c == 0xed {
			high = 0x9f
		}
	case c >= 0xf0 && c <= 0xf4:
		need = 3
		if c == 0xf0 {
			low = 0x90
		}
		if c == 0xf4 {
			high = 0x8f
		}
	default:
		return 0
	}
	n := 1
	for n <= need && n < len(b) && b[n] >= low && b[n] <= high {
		low, high = 0x80, 0xbf
		n++
	}
	return n
}

// Stream decodes ids one by one, as they are generated. It never returns a part of a character.
// A Stream belongs to one goroutine.
type Stream struct {
	t           *Tokenizer
	skipSpecial bool
	rest        []byte
	// begun says that a token with a text was pushed.
	begun bool
	// For tokenizers of whose tokens no bytes are known: all ids, and how many bytes of their text were returned.
	ids  []int32
	sent int
}

// NewStream returns a decoder that leaves out tokens marked special.
func (t *Tokenizer) NewStream() *Stream { return &Stream{t: t, skipSpecial: true} }

// NewRawStream returns a decoder that keeps special tokens.
func (t *Tokenizer) NewRawStream() *Stream { return &Stream{t: t} }

// Push takes the next id and returns the text that is complete by it, which may be empty.
func (s *Stream) Push(id int32) string {
	if s.t.bytes == nil && s.t.pieces == nil {
		s.ids = append(s.ids, id)
		text := s.t.Decode(s.ids, s.skipSpecial)
		if strings.HasSuffix(text, "\uFFFD") {
			return ""
		}
		return s.upTo(text)
	}
	token := s.t.tokenBytes(id, s.skipSpecial)
	if s.t.pieces != nil && token != nil && !s.begun {
		s.begun, token = true, s.t.pieces.beginning(token)
	}
	s.rest = append(s.rest, token...)
	whole := len(s.rest)
	// A character that is not complete begins at most three bytes before the end.
	for n := 1; n <= 3 && n <= len(s.rest); n++ {
		tail := s.rest[len(s.rest)-n:]
		if utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) && partial(tail) == n {
				whole -= n
			}
			break
		}
	}
	text := lossy(s.rest[:whole])
	s.rest = append(s.rest[:0], s.rest[whole:]...)
	return text
}

// upTo returns what is new in the text of all ids so far.
func (s *Stream) upTo(text string) string {
	// A later token may change characters that were returned; what follows them is whole nevertheless.
	for s.sent < len(text) && !utf8.RuneStart(text[s.sent]) {
		s.sent++
	}
	if len(text) <= s.sent {
		return ""
	}
	fresh := text[s.sent:]
	s.sent = len(text)
	return fresh
}

// Flush returns what is left; bytes of a character that was never completed become U+FFFD.
func (s *Stream) Flush() string {
	if s.t.bytes == nil && s.t.pieces == nil {
		return s.upTo(s.t.Decode(s.ids, s.skipSpecial))
	}
	text := lossy(s.rest)
	s.rest = nil
	return text
}
