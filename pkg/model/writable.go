package model

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// Writable is an array whose values Go changes between two runs: in place where the device shares its memory,
// through a copy where it does not.
type Writable[T Number] struct {
	backend compute.Backend
	array   Array
	values  []T
	shared  bool
}

// NewWritable makes a writable array of zeros.
func NewWritable[T Number](backend compute.Backend, dims ...int) (*Writable[T], error) {
	shape := shapes.Make(dtypes.FromGenericsType[T](), dims...)
	w := &Writable[T]{backend: backend, array: Array{shape: shape}, shared: backend.HasSharedBuffers()}
	if !w.shared {
		w.values = make([]T, shape.Size())
		return w, w.Commit()
	}
	buffer, flat, err := backend.NewSharedBuffer(0, shape)
	if err != nil {
		return nil, fmt.Errorf("allocate %s: %w", shape, err)
	}
	w.array.buffer = buffer
	values, ok := flat.([]T)
	if !ok {
		w.Free()
		return nil, fmt.Errorf("allocate %s: the device gave %T", shape, flat)
	}
	clear(values)
	w.values = values
	return w, nil
}

// Values is the content, to be changed only while no program that reads the array runs.
func (w *Writable[T]) Values() []T { return w.values }

// Commit makes the changed values visible to the programs that run next.
func (w *Writable[T]) Commit() error {
	if w.shared {
		return nil
	}
	buffer, err := w.backend.BufferFromFlatData(0, w.values, w.array.shape)
	if err != nil {
		return fmt.Errorf("upload %s: %w", w.array.shape, err)
	}
	w.array.Free()
	w.array.buffer = buffer
	return nil
}

// Array is what programs take. It stays the same through every Commit.
func (w *Writable[T]) Array() *Array { return &w.array }

// Free gives the memory back.
func (w *Writable[T]) Free() {
	if w != nil {
		w.array.Free()
		w.values = nil
	}
}
