package safetensors

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// raw builds a file from a header text and data.
func raw(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	b = append(b, header...)
	return append(b, make([]byte, data)...)
}

func TestHostileHeaders(t *testing.T) {
	t.Parallel()
	huge := binary.LittleEndian.AppendUint64(nil, 1<<63)
	deep := `{"a":` + strings.Repeat(`[`, 100000)
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":             {nil, "too few"},
		"short":             {[]byte{1, 2, 3}, "too few"},
		"huge length":       {append(huge, '{'), "more than the"},
		"beyond the file":   {binary.LittleEndian.AppendUint64(nil, 100), "cut short"},
		"no header":         {binary.LittleEndian.AppendUint64(nil, 0), "not a JSON object"},
		"pickle":            {raw("\x80\x02cq", 0), "not a JSON object"},
		"not json":          {raw(`{"a":`, 0), "header"},
		"array":             {raw(`[1]`, 0), "not a JSON object"},
		"utf8":              {raw("{\"a\xff\":{}}", 0), "UTF-8"},
		"deep":              {raw(deep, 0), "where an object is needed"},
		"twice":             {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2), `"a" occurs twice`},
		"field twice":       {raw(`{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1), "dtype occurs twice"},
		"unknown field":     {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}}`, 1), `unknown field "x"`},
		"missing field":     {raw(`{"a":{"dtype":"U8","shape":[1]}}`, 1), "missing"},
		"dtype":             {raw(`{"a":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}`, 1), `"F4" is not supported`},
		"dtype number":      {raw(`{"a":{"dtype":4,"shape":[2],"data_offsets":[0,1]}}`, 1), "not a string"},
		"past the end":      {raw(`{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}`, 1), "do not lie within"},
		"reversed":          {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, 1), "do not lie within"},
		"negative offset":   {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}}`, 1), "not a whole number"},
		"fraction":          {raw(`{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}`, 1), "not a whole number"},
		"exponent":          {raw(`{"a":{"dtype":"U8","shape":[1e1],"data_offsets":[0,1]}}`, 1), "not a whole number"},
		"three offsets":     {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}`, 1), "more than 2"},
		"one offset":        {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}}`, 1), "do not lie within"},
		"wrong size":        {raw(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}`, 4), "needs"},
		"product overflow":  {raw(`{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0), "needs more than"},
		"overlap":           {raw(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}`, 3), "overlaps"},
		"gap":               {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 2), "belong to no tensor"},
		"tail":              {raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 2), "belong to no tensor"},
		"metadata number":   {raw(`{"__metadata__":{"a":1}}`, 0), "not a string"},
		"metadata twice":    {raw(`{"__metadata__":{},"__metadata__":{}}`, 0), "occurs twice"},
		"metadata key dup":  {raw(`{"__metadata__":{"a":"1","a":"2"}}`, 0), "occurs twice"},
		"after the object":  {raw(`{}{}`, 0), "after the JSON object"},
		"tensor not object": {raw(`{"a":1}`, 0), "where an object is needed"},
		"rank":              {raw(`{"a":{"dtype":"U8","shape":[`+strings.Repeat("1,", 64)+`1],"data_offsets":[0,1]}}`, 1), "more than 64"},
	} {
		_, err := Parse(c.file)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want %q in it", name, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(raw(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"__metadata__":{"a":"b"}}`, 1))
	f.Add(raw(`{"a":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]}}`, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			return
		}
		for _, name := range file.Names() {
			info, ok := file.Info(name)
			if !ok || len(file.Bytes(name)) != info.Elements()*info.DType.Size() {
				t.Fatalf("tensor %q: %v has %d bytes", name, info, len(file.Bytes(name)))
			}
		}
	})
}

func TestConversionsEqualTorch(t *testing.T) {
	t.Parallel()
	f, err := Open(filepath.Join("testdata", "rounding.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	values, err := f.Float32("f32")
	if err != nil {
		t.Fatal(err)
	}
	for name, dtype := range map[string]DType{"f32": F32, "bf16": BF16, "f16": F16} {
		got, err := EncodeFloat32(dtype, values)
		if err != nil {
			t.Fatal(err)
		}
		want := f.Bytes(name)
		for i := range values {
			n := dtype.Size()
			if string(got[n*i:n*i+n]) != string(want[n*i:n*i+n]) {
				t.Errorf("%s of %g: % x, torch has % x", dtype, values[i], got[n*i:n*i+n], want[n*i:n*i+n])
			}
		}
	}
}

func TestSixteenBitValuesRoundTrip(t *testing.T) {
	t.Parallel()
	for i := range 1 << 16 {
		h := uint16(i)
		if v := HalfToFloat32(h); v == v && Float32ToHalf(v) != h {
			t.Fatalf("f16 %04x → %g → %04x", h, v, Float32ToHalf(v))
		} else if v != v && Float32ToHalf(v)&0x7fff <= 0x7c00 {
			t.Fatalf("f16 NaN %04x is lost", h)
		}
		v := math.Float32frombits(uint32(h) << 16)
		if v == v && Float32ToBFloat16(v) != h {
			t.Fatalf("bf16 %04x → %g → %04x", h, v, Float32ToBFloat16(v))
		} else if v != v && Float32ToBFloat16(v)&0x7fff <= 0x7f80 {
			t.Fatalf("bf16 NaN %04x is lost", h)
		}
	}
	if got := Float32ToBFloat16(math.Float32frombits(0x7f800001)); got != 0x7fc0 {
		t.Errorf("a NaN with a low payload became %04x", got)
	}
	if _, err := DecodeFloat32(I64, make([]byte, 8)); err == nil {
		t.Error("I64 converts without an error")
	}
}

func TestOpenDir(t *testing.T) {
	t.Parallel()
	write := func(t *testing.T, dir, file string, names ...string) {
		t.Helper()
		var tensors []Tensor
		for i, name := range names {
			data, _ := EncodeFloat32(BF16, []float32{float32(i), 2})
			tensors = append(tensors, Tensor{Name: name, DType: BF16, Shape: []int{2}, Data: data})
		}
		if err := Write(filepath.Join(dir, file), tensors, nil); err != nil {
			t.Fatal(err)
		}
	}
	index := func(t *testing.T, dir, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, IndexFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("one file", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, SingleFile, "b", "a")
		s, err := OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if got := strings.Join(s.Names(), " "); got != "a b" {
			t.Errorf("names %q", got)
		}
		if v, err := s.Float32("a"); err != nil || v[0] != 1 || v[1] != 2 {
			t.Errorf("a = %v, %v", v, err)
		}
		if _, err := s.Float32("c"); err == nil {
			t.Error("c exists")
		}
	})
	t.Run("shards", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "m-1.safetensors", "a")
		write(t, dir, "m-2.safetensors", "b", "c")
		index(t, dir, `{"metadata":{"total_size":12},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors","c":"m-2.safetensors"}}`)
		s, err := OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if info, ok := s.Info("c"); !ok || info.String() != "BF16[2]" || len(s.Bytes("c")) != 4 {
			t.Errorf("c is %v", info)
		}
	})
	t.Run("all problems at once", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "m-1.safetensors", "a", "extra")
		write(t, dir, "m-2.safetensors", "moved")
		if err := os.WriteFile(filepath.Join(dir, "m-3.safetensors"), []byte("rubbish!"), 0o644); err != nil {
			t.Fatal(err)
		}
		index(t, dir, `{"weight_map":{"a":"m-1.safetensors","moved":"m-1.safetensors","gone":"m-2.safetensors",
			"x":"m-3.safetensors","y":"m-4.safetensors","z":"../z.safetensors"}}`)
		_, err := OpenDir(dir)
		var all *ProblemsError
		if !errors.As(err, &all) {
			t.Fatalf("error is %v", err)
		}
		for _, want := range []string{`"extra" of m-1`, `"moved" lies in m-2`, `"moved" is missing from m-1`, `"gone" is missing`,
			"m-3.safetensors", "m-4.safetensors", `"../z.safetensors" is not a plain`} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not reported in:\n%v", want, err)
			}
		}
	})
	t.Run("nothing there", func(t *testing.T) {
		if _, err := OpenDir(t.TempDir()); err == nil || !strings.Contains(err.Error(), "only safetensors") {
			t.Errorf("error is %v", err)
		}
	})
	t.Run("bad index", func(t *testing.T) {
		dir := t.TempDir()
		index(t, dir, `{"weight_map":{}}`)
		if _, err := OpenDir(dir); err == nil || !strings.Contains(err.Error(), "weight_map") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestOpenRefusesFolders(t *testing.T) {
	t.Parallel()
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("error is %v", err)
	}
}
