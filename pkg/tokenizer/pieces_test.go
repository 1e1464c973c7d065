package tokenizer

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"
)

// TestPiecesAreWhatTheLibraryDecodes: the bytes of tokens one after the other are the text of a tokenizer like that of
// Llama 2, also where a text begins with a space or a character comes in bytes.
func TestPiecesAreWhatTheLibraryDecodes(t *testing.T) {
	t.Parallel()
	for _, strips := range []bool{true, false} {
		data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "sentencepiece", "tokenizer.json"))
		if err != nil {
			t.Fatal(err)
		}
		if !strips { // as that of Yi
			data = bytes.Replace(data, []byte(`,{"type":"Strip","content":" ","start":1,"stop":0}`), nil, 1)
		}
		tok, err := fromJSON(data)
		if err != nil {
			t.Fatal(err)
		}
		defer tok.Close()
		tokens, first, ok := tok.Vocabulary()
		if !ok || (first != nil) != strips {
			t.Fatalf("bytes of tokens are known: %v, where a text begins: %v", ok, first != nil)
		}
		if tokens[tok.TokenID("</s>")] != nil || tokens[tok.TokenID("</s>")+1] != nil {
			t.Error("a special token, or the byte 0, has bytes")
		}
		random := rand.New(rand.NewPCG(1, 2))
		compared := 0
		for range 2000 {
			var ids []int32
			var want []byte
			for range 1 + random.IntN(6) {
				id := random.Int32N(int32(tok.VocabSize()))
				if tokens[id] == nil {
					continue
				}
				if len(ids) == 0 && first != nil {
					want = append(want, first[id]...)
				} else {
					want = append(want, tokens[id]...)
				}
				ids = append(ids, id)
			}
			if len(ids) == 0 || !utf8.Valid(want) {
				continue
			}
			compared++
			if got := tok.Decode(ids, true); got != string(want) {
				t.Errorf("ids %v: %q by their bytes, %q by the library", ids, want, got)
			}
		}
		if compared < 100 {
			t.Errorf("%d texts were compared", compared)
		}
	}
}

// TestStreamOfPieces: the stream gives what the library decodes, character by character, and never a part of one, whatever
// broken bytes a model says in between.
func TestStreamOfPieces(t *testing.T) {
	t.Parallel()
	tok, err := Load(filepath.Join("..", "..", "testdata", "sentencepiece"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tok.Close)
	for _, want := range []string{"the end of the line", "  two spaces", "你好\nthe é 🙂 end", "好"} {
		stream := tok.NewStream()
		var got, parts string
		for _, id := range tok.EncodePlain(want) {
			part := stream.Push(id)
			got, parts = got+part, parts+"|"+part
		}
		if got += stream.Flush(); got != want {
			t.Errorf("%q came as %s", want, parts)
		}
	}
	end, the := tok.TokenID("</s>"), tok.EncodePlain("the")[0]
	byteOf := func(b int32) int32 { return end + 1 + b }
	stream := tok.NewStream()
	for i, step := range []struct {
		id   int32
		want string
	}{
		{the, "the"}, {byteOf('A'), "A"}, {byteOf(0xe4), ""}, {byteOf('A'), "\uFFFDA"}, {byteOf(0xbd), "\uFFFD"}, {the, " the"},
		{byteOf(0xe4), ""}, {byteOf(0xbd), ""}, {byteOf(0xa0), "你"}, {end, ""}, {byteOf(0xe4), ""},
	} {
		if got := stream.Push(step.id); got != step.want {
			t.Errorf("token %d gave %q, want %q", i, got, step.want)
		}
	}
	if got := stream.Flush(); got != "\uFFFD" {
		t.Errorf("Flush gave %q", got)
	}
	if got := tok.TokenBytes(byteOf(0xe4)); !bytes.Equal(got, []byte{0xe4}) {
		t.Errorf("the bytes of a byte are % x", got)
	}
	if got := tok.TokenBytes(the); string(got) != " the" {
		t.Errorf("the bytes of ▁the are %q", got)
	}
	if got := tok.TokenText(byteOf(0xe4)); got != "<0xE4>" {
		t.Errorf("the text of a byte is %q", got)
	}
}
