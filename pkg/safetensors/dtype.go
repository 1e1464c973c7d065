package safetensors

import "fmt"

// DType is the element type of a tensor under the name that the format gives it.
type DType string

// The element types that a file may hold. Types of less than a byte (F4, F6) are refused.
const (
	Bool   DType = "BOOL"
	U8     DType = "U8"
	I8     DType = "I8"
	F8E5M2 DType = "F8_E5M2"
	F8E4M3 DType = "F8_E4M3"
	I16    DType = "I16"
	U16    DType = "U16"
	F16    DType = "F16"
	BF16   DType = "BF16"
	I32    DType = "I32"
	U32    DType = "U32"
	F32    DType = "F32"
	C64    DType = "C64"
	F64    DType = "F64"
	I64    DType = "I64"
	U64    DType = "U64"
)

// size returns the bytes of one element and the rank of the type in the order in which writers place
// tensors in a file (the reference implementation puts the types that it lists last first). A rank of
// 0 means an unknown type.
func (d DType) size() (bytes, rank int) {
	switch d {
	case Bool:
		return 1, 1
	case U8:
		return 1, 2
	case I8:
		return 1, 3
	case F8E5M2:
		return 1, 4
	case F8E4M3:
		return 1, 5
	case I16:
		return 2, 6
	case U16:
		return 2, 7
	case F16:
		return 2, 8
	case BF16:
		return 2, 9
	case I32:
		return 4, 10
	case U32:
		return 4, 11
	case F32:
		return 4, 12
	case C64:
		return 8, 13
	case F64:
		return 8, 14
	case I64:
		return 8, 15
	case U64:
		return 8, 16
	}
	return 0, 0
}

// Size returns the bytes of one element, or 0 for a type that is not known.
func (d DType) Size() int {
	bytes, _ := d.size()
	return bytes
}

// Info describes one tensor of a file.
type Info struct {
	DType DType
	// Shape is empty for a scalar. A dimension may be 0.
	Shape []int
}

// Elements returns the number of elements of the tensor.
func (i Info) Elements() int {
	n := 1
	for _, d := range i.Shape {
		n *= d
	}
	return n
}

// String shows the tensor as, for example, "BF16[151936,896]".
func (i Info) String() string {
	s := string(i.DType) + "["
	for k, d := range i.Shape {
		if k > 0 {
			s += ","
		}
		s += fmt.Sprint(d)
	}
	return s + "]"
}

// byteCount returns the bytes of a tensor, refusing products beyond limit (which also rules out
// overflow: limit is the size of a file).
func byteCount(d DType, shape []int, limit int) (int, error) {
	elem := d.Size()
	if elem == 0 {
		return 0, fmt.Errorf("element type %q is not supported", string(d))
	}
	n := elem
	for _, dim := range shape {
		if dim == 0 {
			return 0, nil
		}
	}
	for _, dim := range shape {
		if dim < 0 {
			return 0, fmt.Errorf("dimension %d is negative", dim)
		}
		if n > limit/dim {
			return 0, fmt.Errorf("shape %v needs more than the %d bytes there are", shape, limit)
		}
		n *= dim
	}
	return n, nil
}
