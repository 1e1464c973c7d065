package safetensors

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rewrite encodes what a file holds again.
func rewrite(t *testing.T, f *File) []byte {
	t.Helper()
	var tensors []Tensor
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		tensors = append(tensors, Tensor{Name: name, DType: info.DType, Shape: info.Shape, Data: f.Bytes(name)})
	}
	out, err := Encode(tensors, f.Metadata())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEncodeWritesTheBytesOfTheReference(t *testing.T) {
	t.Parallel()
	// reference.safetensors was written by Hugging Face's safetensors 0.8.0: all element types, an empty
	// tensor, a scalar, a name and metadata that need escapes.
	for _, name := range []string{"reference.safetensors", "rounding.safetensors"} {
		path := filepath.Join("testdata", name)
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if got := rewrite(t, f); !bytes.Equal(got, want) {
			t.Errorf("%s: rewritten file differs:\n%q\n%q", name, clip(got), clip(want))
		}
	}
}

func clip(b []byte) []byte { return b[:min(len(b), 2000)] }

func TestParityPEFTFileLayout(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("DESCANT_PARITY_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "testdata", "parity")
	}
	text, err := os.ReadFile(filepath.Join(dir, "peft_format.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases []struct {
			Name    string
			Tensors []struct {
				Key   string
				DType DType
				Shape []int
			}
			OrderInFile []string `json:"order_in_file"`
			Metadata    map[string]string
			HeaderBytes int `json:"header_bytes"`
			FileBytes   int `json:"file_bytes"`
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Cases) == 0 {
		t.Fatal("no cases")
	}
	for _, c := range doc.Cases {
		var tensors []Tensor
		for _, x := range c.Tensors {
			n, err := byteCount(x.DType, x.Shape, 1<<40)
			if err != nil {
				t.Fatal(err)
			}
			tensors = append(tensors, Tensor{Name: x.Key, DType: x.DType, Shape: x.Shape, Data: make([]byte, n)})
		}
		ordered, head, err := layout(tensors, c.Metadata)
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range ordered {
			if x.Name != c.OrderInFile[i] {
				t.Errorf("%s: tensor %d is %s, want %s", c.Name, i, x.Name, c.OrderInFile[i])
				break
			}
		}
		if len(head)-lengthBytes != c.HeaderBytes {
			t.Errorf("%s: header of %d bytes, want %d", c.Name, len(head)-lengthBytes, c.HeaderBytes)
		}
		if out, err := Encode(tensors, c.Metadata); err != nil || len(out) != c.FileBytes {
			t.Errorf("%s: file of %d bytes (%v), want %d", c.Name, len(out), err, c.FileBytes)
		}
	}
}

func TestWriteReplacesAtomically(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "x.safetensors")
	first := []Tensor{{Name: "a", DType: F32, Shape: []int{1}, Data: []byte{0, 0, 128, 63}}}
	if err := Write(path, first, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	bad := []Tensor{{Name: "a", DType: F32, Shape: []int{1}, Stream: func(io.Writer) error { return boom }}}
	if err := Write(path, bad, nil); !errors.Is(err, boom) {
		t.Fatalf("error is %v", err)
	}
	short := []Tensor{{Name: "a", DType: F32, Shape: []int{2}, Data: make([]byte, 4)}}
	if err := Write(path, short, nil); err == nil || !strings.Contains(err.Error(), "needs 8 bytes, got 4") {
		t.Fatalf("error is %v", err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if v, err := f.Float32("a"); err != nil || v[0] != 1 {
		t.Fatalf("got %v, %v", v, err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 {
		t.Fatalf("left behind: %v", entries)
	}
}

func TestWriteRefuses(t *testing.T) {
	t.Parallel()
	one := Tensor{Name: "a", DType: U8, Shape: []int{1}, Data: []byte{1}}
	for name, tensors := range map[string][]Tensor{
		"twice":    {one, one},
		"reserved": {{Name: "__metadata__", DType: U8, Shape: []int{1}, Data: []byte{1}}},
		"dtype":    {{Name: "a", DType: "F4", Shape: []int{2}, Data: []byte{1}}},
		"negative": {{Name: "a", DType: U8, Shape: []int{-1}}},
		"overflow": {{Name: "a", DType: U8, Shape: []int{1 << 40, 1 << 40}}},
		"utf8":     {{Name: "a\xff", DType: U8, Shape: []int{1}, Data: []byte{1}}},
	} {
		if _, err := Encode(tensors, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
