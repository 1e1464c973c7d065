package device

import (
	"fmt"
	"reflect"
	"unsafe"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/pjrt"
)

// View returns a buffer of the rows [from, to) of b, of that shape, along its first axis. It lies in the memory of b, which must not be freed before. ok is
// false where b is not in memory that XLA's CPU client shares with this process, or the client can read nothing that begins at that row.
func View(b compute.Buffer, shape shapes.Shape, from, to int) (view compute.Buffer, ok bool, err error) {
	if from < 0 || to <= from || to > shape.Dim(0) {
		return nil, false, fmt.Errorf("%s has no rows %d to %d", shape, from, to)
	}
	whole, isXLA := b.(*xla.Buffer)
	if !isXLA || !(*pjrtBuffer(whole)).IsShared() {
		return nil, false, nil
	}
	inner, skipped := *pjrtBuffer(whole), from*int(shape.ByteSize())/shape.Dim(0)
	if skipped%pjrt.BufferAlignment != 0 {
		return nil, false, nil
	}
	at, err := inner.UnsafePointer()
	if err != nil {
		return nil, false, err
	}
	on, err := inner.Device()
	if err != nil {
		return nil, false, err
	}
	dims := append([]int{to - from}, shape.Dimensions[1:]...)
	part, err := inner.Client().CreateViewOfDeviceBuffer(unsafe.Add(at, skipped), shape.DType, dims, on)
	if err != nil {
		return nil, false, err
	}
	result := *whole
	*pjrtBuffer(&result) = part
	return &result, true, nil
}

// pjrtBuffer is where a buffer of go-xla's backend has what it stands for. There is no exported way to it.
func pjrtBuffer(b *xla.Buffer) **pjrt.Buffer {
	return (**pjrt.Buffer)(unsafe.Pointer(reflect.ValueOf(b).Elem().FieldByName("pjrtBuffer").UnsafeAddr()))
}
