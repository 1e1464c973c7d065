package device

/*
#cgo CFLAGS: -O3 -Wno-psabi
#cgo linux LDFLAGS: -ldl
#include <stdlib.h>
#include "kernels.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"unsafe"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/stablehlo"
)

// BGMV begins the names of the functions that [WithKernels] computes itself.
const BGMV = "descant_bgmv"

// packedKernel is the name of the product with a packed matrix.
const packedKernel = "descant_packed"

// WithKernels returns a backend that shares everything with b and has, on XLA's CPU client, two kernels of this package, in C. ok is
// false, and the backend is b itself, where there is no such client or its plugin takes no such kernel.
//
// The first computes the calls of functions whose name begins with [BGMV]. They multiply every row with the matrices of its own adapter
// (a batched gathered matrix-vector product, after Punica, arXiv 2310.18547):
//
//	y_i[row] = (x[row] · A_i[from:to]ᵀ) · B_i[from:to]    with from, to = ranges[row]
//
//	x       [rows, in]             f32 or bf16
//	ranges  [rows, 2]              int32: the first column of the row's adapter, and the one behind its last; equal for none
//	A       [modules·columns, in]  of x's dtype; A_i are the columns of a module
//	B_i     [columns, out_i]       of x's dtype, one for every module, at most 8
//	y_i     [rows, out_i]          f32, the results
//
// It reads the columns that are in use, each row its own, where products with masks compute all columns for all rows. Sums are f32; with
// bf16, x·A is rounded to bf16 before the second product. The body of the function must compute the same: the kernel takes its place.
//
// The second computes the products of [PacksProducts] where oneDNN does not, on processors with AVX2: there XLA's own reads a bf16 matrix
// at half of the memory's speed for one row, and several rows take four times as long as their multiplications.
//
// A row's results in both do not depend on the other rows or on how many there are.
func WithKernels(b compute.Backend) (backend compute.Backend, ok bool) {
	inner, isExtended := b.(extended)
	if !isExtended {
		inner.Backend = b
	}
	cpu, isXLA := inner.Backend.(*xla.Backend)
	if !isXLA || !cpu.IsCPU() || registerKernels() != nil {
		return b, false
	}
	inner.bgmv, inner.packs = true, !inner.oneDNN && C.descant_fast_packed() != 0
	return inner, true
}

// HasBGMV tells whether b computes the functions of [BGMV] by the kernel of [WithKernels].
func HasBGMV(b compute.Backend) bool {
	e, ok := b.(extended)
	return ok && e.bgmv
}

// registerKernels makes the kernels known to the plugin, once in a process, as the plugin is there once.
var registerKernels = sync.OnceValue(func() error {
	plugin, err := findPlugin(XLA)
	if err != nil {
		return err
	}
	path, bgmv, packed := C.CString(plugin), C.CString(BGMV), C.CString(packedKernel)
	defer C.free(unsafe.Pointer(path))
	defer C.free(unsafe.Pointer(bgmv))
	defer C.free(unsafe.Pointer(packed))
	if why := C.descant_register_kernels(path, bgmv, packed); why != nil {
		return errors.New(C.GoString(why))
	}
	return nil
})

// Call is that of the kernel of [WithKernels], or of the function.
func (f extendedFunction) Call(target compute.Function, inputs ...compute.Value) ([]compute.Value, error) {
	if other, ok := target.(extendedFunction); ok {
		target = other.Function
	}
	if !f.builder.with.bgmv || !strings.HasPrefix(target.Name(), BGMV) {
		return f.Function.Call(target, inputs...)
	}
	if len(inputs) < 4 {
		return nil, fmt.Errorf("%s takes x, ranges, A and the Bs, not %d inputs", target.Name(), len(inputs))
	}
	x, err := f.builder.OpShape(inputs[0])
	if err != nil {
		return nil, err
	}
	var results []shapes.Shape
	for _, matrix := range inputs[3:] {
		b, err := f.builder.OpShape(matrix)
		if err != nil {
			return nil, err
		}
		if x.Rank() != 2 || b.Rank() != 2 {
			return nil, fmt.Errorf("%s takes matrices, not %s and %s", target.Name(), x, b)
		}
		results = append(results, shapes.Make(dtypes.Float32, x.Dim(0), b.Dim(1)))
	}
	return foreignCall(f.Function, BGMV, results, inputs...)
}

// foreignCall calls a function that was registered with the plugin. go-xla writes calls of an older kind, with a status for a result;
// they differ by one attribute of the statement.
func foreignCall(f compute.Function, name string, results []shapes.Shape, inputs ...compute.Value) ([]compute.Value, error) {
	target := f.(*xla.Function)
	values, err := customCall(target, name, "", nil, results, nil, inputs...)
	if err != nil {
		return nil, err
	}
	const foreign = 4 // API_VERSION_TYPED_FFI
	text := (*stablehlo.Function)(reflect.ValueOf(target).Elem().FieldByName("fn").UnsafePointer())
	text.Statements[len(text.Statements)-1].Attributes["api_version"] = int32(foreign)
	return values, nil
}
