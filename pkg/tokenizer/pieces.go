package tokenizer

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// pieces holds the bytes of every token of a SentencePiece vocabulary with byte fallback (Llama 2, Mistral, Yi, Gemma): ▁ is
// a space, <0x0A> is the byte 10, everything else is itself.
type pieces struct {
	of [][]byte
	// strips says that the decoder drops a space that a text begins with.
	strips bool
}

// newPieces resolves a vocabulary, nil where the decoder of tokenizer.json does something else than the steps of such
// tokenizers.
func newPieces(decoder json.RawMessage, vocab map[string]int32, added []AddedToken, size int) *pieces {
	type step struct {
		Type    string
		Pattern struct{ String string }
		Content string
		// Start and Stop are how many contents Strip drops at both ends.
		Start, Stop int
		Decoders    []json.RawMessage
	}
	var sequence step
	if json.Unmarshal(decoder, &sequence) != nil || sequence.Type != "Sequence" {
		return nil
	}
	p := &pieces{of: make([][]byte, size)}
	var kinds []string
	for _, raw := range sequence.Decoders {
		var one step
		if json.Unmarshal(raw, &one) != nil {
			return nil
		}
		switch {
		case one.Type == "Replace" && one.Pattern.String == space && one.Content == " ":
		case one.Type == "ByteFallback", one.Type == "Fuse":
		case one.Type == "Strip" && one.Content == " " && one.Start == 1 && one.Stop == 0 && slices.Contains(kinds, "Fuse"):
			p.strips = true
		default:
			return nil
		}
		kinds = append(kinds, one.Type)
	}
	if !slices.Contains(kinds, "Replace") || !slices.Contains(kinds, "ByteFallback") {
		return nil
	}
	for token, id := range vocab {
		if id >= 0 {
			p.of[id] = pieceBytes(token)
		}
	}
	for _, a := range added {
		if a.ID >= 0 {
			p.of[a.ID] = pieceBytes(a.Content)
		}
	}
	return p
}

// space is how a SentencePiece vocabulary writes a space.
const space = "▁"

// pieceBytes are the bytes that a token adds to a text; none for the byte 0, at which the library's own decoding ends.
func pieceBytes(token string) []byte {
	if len(token) == 6 && strings.HasPrefix(token, "<0x") && token[5] == '>' {
		if value, err := strconv.ParseUint(token[3:5], 16, 8); err == nil {
			if value == 0 {
				return nil
			}
			return []byte{byte(value)}
		}
	}
	return []byte(strings.ReplaceAll(token, space, " "))
}

// beginning is what a token's bytes are where a text begins with it.
func (p *pieces) beginning(bytes []byte) []byte {
	if p.strips && len(bytes) > 0 && bytes[0] == ' ' {
		return bytes[1:]
	}
	return bytes
}
