package gguf

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"testing"

	"descant/pkg/safetensors"
)

// read is a file taken apart by the description of the format, apart from the code that writes.
type read struct {
	fields  map[string]any
	order   []string // keys
	tensors map[string]readTensor
	names   []string
}

type readTensor struct {
	dims []uint64 // the fastest first
	kind uint32
	data []byte
}

func (t readTensor) floats() []float32 {
	var out []float32
	switch Type(t.kind) {
	case F16, BF16:
		dtype := safetensors.F16
		if Type(t.kind) == BF16 {
			dtype = safetensors.BF16
		}
		out, _ = safetensors.DecodeFloat32(dtype, t.data)
	case Q8_0:
		for at := 0; at < len(t.data); at += q8Bytes {
			d := safetensors.HalfToFloat32(binary.LittleEndian.Uint16(t.data[at:]))
			for _, q := range t.data[at+2 : at+q8Bytes] {
				out = append(out, d*float32(int8(q)))
			}
		}
	default:
		out, _ = safetensors.DecodeFloat32(safetensors.F32, t.data)
	}
	return out
}

type reader struct {
	t    *testing.T
	data []byte
	at   int
}

func (r *reader) take(n int) []byte {
	r.t.Helper()
	if r.at+n > len(r.data) {
		r.t.Fatalf("the file ends at %d, %d bytes are wanted at %d", len(r.data), n, r.at)
	}
	r.at += n
	return r.data[r.at-n : r.at]
}
func (r *reader) u32() uint32  { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64  { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *reader) text() string { return string(r.take(int(r.u64()))) }

func (r *reader) value(kind uint32) any {
	switch kind {
	case 4:
		return r.u32()
	case 5:
		return int32(r.u32())
	case 6:
		return math.Float32frombits(r.u32())
	case 7:
		return r.take(1)[0] == 1
	case 8:
		return r.text()
	case 9:
		element := r.u32()
		var list []any
		for range r.u64() {
			list = append(list, r.value(element))
		}
		return list
	}
	r.t.Fatalf("value of kind %d at %d", kind, r.at)
	return nil
}

func readFile(t *testing.T, path string) read {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, data: data}
	if magic, version := string(r.take(4)), r.u32(); magic != "GGUF" || version != 3 {
		t.Fatalf("the file begins with %q, version %d", magic, version)
	}
	tensors, fields := r.u64(), r.u64()
	out := read{fields: map[string]any{}, tensors: map[string]readTensor{}}
	for range fields {
		key := r.text()
		out.fields[key] = r.value(r.u32())
		out.order = append(out.order, key)
	}
	type place struct {
		name   string
		t      readTensor
		offset uint64
	}
	var places []place
	for range tensors {
		p := place{name: r.text()}
		for range r.u32() {
			p.t.dims = append(p.t.dims, r.u64())
		}
		p.t.kind, p.offset = r.u32(), r.u64()
		places = append(places, p)
	}
	start := (r.at + 31) / 32 * 32
	end := start
	for _, p := range places {
		size := 1
		for _, d := range p.t.dims {
			size *= int(d)
		}
		if p.t.kind == 8 {
			size = size / 32 * 34
		} else {
			size *= map[uint32]int{0: 4, 1: 2, 30: 2}[p.t.kind]
		}
		if p.offset%32 != 0 || start+int(p.offset) != end {
			t.Errorf("tensor %s lies at %d, the one before it ends at %d", p.name, p.offset, end-start)
		}
		p.t.data = data[start+int(p.offset) : start+int(p.offset)+size]
		end = (start + int(p.offset) + size + 31) / 32 * 32
		if gap := data[start+int(p.offset)+size : end]; !bytes.Equal(gap, make([]byte, len(gap))) {
			t.Errorf("the gap behind %s is not zero", p.name)
		}
		out.tensors[p.name] = p.t
		out.names = append(out.names, p.name)
	}
	if end != len(data) {
		t.Errorf("the file has %d bytes, its tensors end at %d", len(data), end)
	}
	return out
}
