package model

import (
	"fmt"
	"unsafe"

	"descant/pkg/device"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/shapes"
)

// Array is a value in the memory of a device, freed by hand: a model's buffers are too large to wait for the
// garbage collector.
type Array struct {
	shape  shapes.Shape
	buffer compute.Buffer
}

// Number is an element type that arrays are made from and read as.
type Number interface {
	float32 | float64 | int32 | uint32 | bool | bfloat16.BFloat16
}

// Shape is dtype and dimensions.
func (a *Array) Shape() shapes.Shape { return a.shape }

// Bytes is the size in memory.
func (a *Array) Bytes() int64 { return int64(a.shape.Size()) * int64(a.shape.DType.Size()) }

// Free gives the memory back. A nil or freed array is left alone.
func (a *Array) Free() {
	if a == nil || a.buffer == nil {
		return
	}
	// A buffer that cannot be freed belongs to a backend that is gone already.
	_ = a.buffer.Finalize()
	a.buffer = nil
}

// Freed says that the array has no memory any more.
func (a *Array) Freed() bool { return a.buffer == nil }

// Rows is the rows [from, to) of an array along its first axis, in the array's own memory: to be freed, and before the array. It is nil where the device gives
// no such view.
func (a *Array) Rows(from, to int) (*Array, error) {
	buffer, ok, err := device.View(a.buffer, a.shape, from, to)
	if err != nil || !ok {
		return nil, err
	}
	shape := a.shape.Clone()
	shape.Dimensions[0] = to - from
	return &Array{shape: shape, buffer: buffer}, nil
}

// FreeAll frees every array of a list.
func FreeAll(arrays ...*Array) {
	for _, a := range arrays {
		a.Free()
	}
}

// Upload copies flat values to the device as an array of the given dimensions.
func Upload[T Number](backend compute.Backend, values []T, dims ...int) (*Array, error) {
	shape := shapes.Make(dtypes.FromGenericsType[T](), dims...)
	if shape.Size() != len(values) {
		return nil, fmt.Errorf("upload %d values as %s", len(values), shape)
	}
	buffer, err := backend.BufferFromFlatData(0, values, shape)
	if err != nil {
		return nil, fmt.Errorf("upload %s: %w", shape, err)
	}
	return &Array{shape: shape, buffer: buffer}, nil
}

// Fill makes a float32 array that fill writes in place: without a copy where the device shares its memory.
func Fill(backend compute.Backend, fill func(values []float32) error, dims ...int) (*Array, error) {
	shape := shapes.Make(dtypes.Float32, dims...)
	if !backend.HasSharedBuffers() {
		values := make([]float32, shape.Size())
		if err := fill(values); err != nil {
			return nil, err
		}
		return Upload(backend, values, dims...)
	}
	buffer, flat, err := backend.NewSharedBuffer(0, shape)
	if err != nil {
		return nil, fmt.Errorf("allocate %s: %w", shape, err)
	}
	a := &Array{shape: shape, buffer: buffer}
	values, ok := flat.([]float32)
	if !ok {
		a.Free()
		return nil, fmt.Errorf("allocate %s: the device gave %T", shape, flat)
	}
	if err := fill(values); err != nil {
		a.Free()
		return nil, err
	}
	return a, nil
}

// Download copies the values of an array, which must hold elements of type T; it waits until they are computed.
func Download[T Number](a *Array) ([]T, error) {
	if want := dtypes.FromGenericsType[T](); a.shape.DType != want {
		return nil, fmt.Errorf("download %s as %s", a.shape, want)
	}
	values := make([]T, a.shape.Size())
	if err := a.buffer.ToFlatData(values); err != nil {
		return nil, fmt.Errorf("download %s: %w", a.shape, err)
	}
	return values, nil
}

// AsBytes views float32 values as the little-endian bytes of a file. All supported machines are
// little-endian.
func AsBytes(values []float32) []byte {
	if len(values) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), 4*len(values))
}
