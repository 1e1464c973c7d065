package gguf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"descant/pkg/safetensors"
)

const (
	version   = 3
	alignment = 32
)

// Type is the element type of a tensor, in the numbers of ggml.
type Type uint32

// The element types that are written here.
const (
	F32  Type = 0
	F16  Type = 1
	Q8_0 Type = 8 // blocks of 32 elements: see [appendQ8]
	BF16 Type = 30
)

// bytes is what so many elements take; of Q8_0 they must be whole blocks.
func (t Type) bytes(elements int) int {
	switch t {
	case F32:
		return 4 * elements
	case Q8_0:
		return elements / q8Block * q8Bytes
	}
	return 2 * elements
}

// typeOf is the type of a safetensors dtype.
func typeOf(d safetensors.DType) (Type, error) {
	switch d {
	case safetensors.F32:
		return F32, nil
	case safetensors.F16:
		return F16, nil
	case safetensors.BF16:
		return BF16, nil
	}
	return 0, fmt.Errorf("dtype %s cannot be exported; F32, F16 and BF16 can", d)
}

// Field is one entry of the metadata. Value is a string, bool, uint32, float32, []string, []int32 or []float32.
type Field struct {
	Key   string
	Value any
}

// Tensor is one tensor to be written.
type Tensor struct {
	Name string
	Type Type
	// Shape is row-major, the fastest dimension last, as in safetensors; the file has it the other way round.
	Shape []int
	// Stream writes exactly the bytes that type and shape call for, little endian.
	Stream func(w io.Writer) error
}

func (t Tensor) bytes() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return t.Type.bytes(n)
}

// Write writes a file, which appears under its name only when it is complete and on disk. progress, if not nil,
// hears of the bytes of tensors that are written, and of all.
func Write(path string, fields []Field, tensors []Tensor, progress func(done, total int64)) error {
	head, err := header(fields, tensors)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	var total int64
	for _, t := range tensors {
		total += int64(t.bytes())
	}
	err = safetensors.WriteAtomic(path, func(w io.Writer) error {
		if _, err := w.Write(head); err != nil {
			return err
		}
		var done int64
		for _, t := range tensors {
			c := &counter{w: w}
			if err := t.Stream(c); err != nil {
				return fmt.Errorf("tensor %s: %w", t.Name, err)
			}
			if c.n != t.bytes() {
				return fmt.Errorf("tensor %s %v needs %d bytes, got %d", t.Name, t.Shape, t.bytes(), c.n)
			}
			if _, err := w.Write(make([]byte, padding(c.n))); err != nil {
				return err
			}
			if done += int64(c.n); progress != nil {
				progress(done, total)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

type counter struct {
	w io.Writer
	n int
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += n
	return n, err
}

func padding(n int) int { return (alignment - n%alignment) % alignment }

// header is everything before the first tensor.
func header(fields []Field, tensors []Tensor) ([]byte, error) {
	e := &encoder{}
	e.WriteString("GGUF")
	e.put(uint32(version), uint64(len(tensors)), uint64(len(fields)))
	seen := map[string]bool{}
	for _, f := range fields {
		if seen[f.Key] {
			return nil, fmt.Errorf("field %s is given twice", f.Key)
		}
		seen[f.Key] = true
		e.text(f.Key)
		if err := e.value(f.Value); err != nil {
			return nil, fmt.Errorf("field %s: %w", f.Key, err)
		}
	}
	offset := 0
	for _, t := range tensors {
		if seen["\x00"+t.Name] {
			return nil, fmt.Errorf("tensor %s is given twice", t.Name)
		}
		seen["\x00"+t.Name] = true
		e.text(t.Name)
		e.put(uint32(len(t.Shape)))
		for i := range t.Shape {
			e.put(uint64(t.Shape[len(t.Shape)-1-i]))
		}
		e.put(uint32(t.Type), uint64(offset))
		offset += t.bytes() + padding(t.bytes())
	}
	e.Write(make([]byte, padding(e.Len())))
	return e.Bytes(), nil
}

// Numbers of the types of metadata values.
const (
	valueUint32  = 4
	valueInt32   = 5
	valueFloat32 = 6
	valueBool    = 7
	valueString  = 8
	valueArray   = 9
)

type encoder struct{ bytes.Buffer }

// put appends numbers; a bytes.Buffer takes all there are.
func (e *encoder) put(numbers ...any) {
	for _, n := range numbers {
		_ = binary.Write(&e.Buffer, binary.LittleEndian, n)
	}
}

func (e *encoder) text(s string) {
	e.put(uint64(len(s)))
	e.WriteString(s)
}

func (e *encoder) value(value any) error {
	switch v := value.(type) {
	case string:
		e.put(uint32(valueString))
		e.text(v)
	case bool:
		e.put(uint32(valueBool), v)
	case uint32:
		e.put(uint32(valueUint32), v)
	case float32:
		e.put(uint32(valueFloat32), v)
	case []string:
		e.put(uint32(valueArray), uint32(valueString), uint64(len(v)))
		for _, s := range v {
			e.text(s)
		}
	case []int32:
		e.put(uint32(valueArray), uint32(valueInt32), uint64(len(v)), v)
	case []float32:
		e.put(uint32(valueArray), uint32(valueFloat32), uint64(len(v)), v)
	default:
		return fmt.Errorf("a %T cannot be written", value)
	}
	return nil
}
