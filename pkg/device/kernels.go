package device

/*
#cgo CFLAGS: -O3 -Wno-psabi
#cgo linux LDFLAGS: -ldl -lm
#include <stdlib.h>
#include "kernels.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
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

// Adapted begins the names of others of them, where [FusesAdapters] says so.
const Adapted = "descant_adapted"

// Attend begins the names of others of them.
const Attend = "descant_attend"

// Flash begins the names of others of them, FlashPull those of others that compute the gradient.
const (
	Flash     = "descant_flash_forward"
	FlashPull = "descant_flash_pull"
)

// These begin the names of others, where [HasHalves] says so.
const (
	HalvesPacked = "descant_halves_packed"
	HalvesLinear = "descant_halves_linear"
	HalvesPull   = "descant_halves_pull"
)

// The names of the other kernels: the product with a packed matrix, and with a plain one over its second axis and its first.
const (
	packedKernel = "descant_packed"
	linearKernel = "descant_linear"
	pullKernel   = "descant_pull"
)

// WithKernels returns a backend that shares everything with b and has, on XLA's CPU client, the kernels of this package, in C. ok is
// false, and the backend is b itself, where there is no such client or its plugin takes no such kernel. The body of a
// function is for other backends.
//
// The first computes the calls of functions whose name begins with [BGMV]. They multiply every row with the matrices of its own adapter
// (a batched gathered matrix-vector product, after Punica, arXiv 2310.18547):
//
//	y_i[row] = (x[row] · A_i[from:to]ᵀ) · B_i[from:to]    with from, to = ranges[row]
//
//	x       [rows, in]             f32 or bf16
//	ranges  [rows, 2]              int32: the first column of the row's adapter, and the one behind its last; equal for none
//	A       [modules·columns, in]  bf16, or x's dtype; A_i are the columns of a module
//	B_i     [columns, out_i]       of A's dtype, one for every module, at most 8
//	y_i     [rows, out_i]          f32, the results
//
// It reads the columns that are in use, each row its own, where products with masks compute all columns for all rows. Sums are f32; with
// x in bf16, x·A is rounded to bf16 before the second product.
//
// The second computes the calls of functions whose name begins with [Attend]: the attention of new tokens of each row over its cached
// positions and, causally, themselves.
//
//	q             [rows, tokens, heads, dim]       f32, as all that follow but the integers; dim is at most 256 for several tokens
//	k, v          [rows, tokens, kv heads, dim]    of the new tokens
//	keys, values  [caches, kv heads, context, dim]
//	cached        [rows]                           int32: how many positions of its cache a row has filled
//	index         [rows]                           int32: which cache is the row's
//	window        []                               int32: above 0 a token sees only the window-1 last positions before it
//	y             [rows, tokens, heads·dim]
//
// It reads the filled positions only, where they are.
//
// The third and the fourth compute the calls of functions whose names begin with [Flash] and [FlashPull]: the attention of many tokens, each over a range of keys, and the gradients of
// q, k and v for that of its result, without scores in memory (FlashAttention-2, arXiv 2307.08691).
//
//	q         [batch, seq, heads, dim]      f32, as all that follow but the ranges; dim is at most 256
//	k, v      [batch, keys, kv heads, dim]
//	ranges    [batch, seq, 2]               int32: the first key that a query sees, and the one behind its last; not empty
//	y         [batch, seq, heads·dim]       the result; to pull an operand, and its gradient another
//	dq        [batch, seq, heads, dim]      the results to pull
//	dk, dv    [batch, keys, kv heads, dim]
//
// The fifth computes the products of [PacksProducts] on processors with AVX2 that multiply bf16 best in f32: those without avx512_bf16, and Intel's, whose
// instruction for pairs of bf16 takes four times as long as one for f32. There XLA's own reads a bf16 matrix at half of the memory's speed
// for one row, and several rows take four times as long as their multiplications.
//
// The sixth computes the products of several rows with a plain matrix of bf16, over either axis of it, with a result in f32: on processors with AVX2
// but not amx_bf16. oneDNN and XLA pack the whole matrix first in every execution.
//
// On all processors with AVX2 these compute products of f32, too, with a matrix of f32 values of which only the upper halves are there, the lower being
// zero, as bf16 files have them. These are the calls of functions whose names begin with [HalvesPacked], [HalvesLinear] and [HalvesPull], for a packed
// matrix, and for a plain one over its second axis and over its first. The numbers of inputs and outputs are multiples of 64.
//
//	x       [rows, in]                     f32
//	matrix  [out/64, in, 64]               uint16, in the layout of [PacksProducts]
//	        [out, in] or to pull [in, out] uint16
//	y       [rows, out]                    f32, the result
//
// With plain matrices there may be more such pairs, at most 8, of which it computes the sum. The last of several may be with a small matrix in f32, [out, rank] or
// to pull [rank, out]: an adapter's.
//
// The last is the first and the product with a packed matrix, of either kind, in one: the calls of functions whose names begin with [Adapted]. Its operands
// are the packed matrix and those of the first, its results y of the product and those of the first.
//
// A row's results in all of them but the attention of many tokens do not depend on the other rows or on how many there are; there sums begin at the first key that
// any row nearby sees. Nothing depends on the number of threads.
func WithKernels(b compute.Backend) (backend compute.Backend, ok bool) {
	inner, isExtended := b.(extended)
	if !isExtended {
		inner.Backend = b
	}
	cpu, isXLA := inner.Backend.(*xla.Backend)
	if !isXLA || !cpu.IsCPU() || registerKernels() != nil {
		return b, false
	}
	inner.kernels = true
	inner.halves = C.descant_products() != C.DESCANT_OTHER
	if products := C.descant_products(); products != C.DESCANT_OTHER && !CPUFacts().Has("amx_bf16") {
		inner.packs, inner.linear = !inner.oneDNN || products == C.DESCANT_F32, true
	}
	return inner, true
}

// multipliesPairs tells whether kernels multiply pairs of bf16, as that is faster here than in f32.
func multipliesPairs() bool { return C.descant_products() == C.DESCANT_PAIRS }

// HasKernels tells whether b is one of [WithKernels].
func HasKernels(b compute.Backend) bool {
	e, ok := b.(extended)
	return ok && e.kernels
}

// HasFlash tells whether b has kernels for the attention of many tokens, with heads of so many values.
func HasFlash(b compute.Backend, dim int) bool {
	return HasKernels(b) && dim <= C.DESCANT_HEAD
}

// HasHalves tells whether b computes products with matrices of upper halves.
func HasHalves(b compute.Backend) bool {
	e, ok := b.(extended)
	return ok && e.halves
}

// FusesAdapters tells whether b computes the products with a packed matrix, of bf16 or upper halves, and with those of adapters in one call.
func FusesAdapters(b compute.Backend, matrix dtypes.DType) bool {
	e, ok := b.(extended)
	return ok && (matrix == dtypes.Uint16 && e.halves || matrix == dtypes.BFloat16 && e.packs)
}

// registerKernels makes the kernels known to the plugin, once in a process, as the plugin is there once.
var registerKernels = sync.OnceValue(func() error {
	plugin, err := findPlugin(XLA)
	if err != nil {
		return err
	}
	path := C.CString(plugin)
	defer C.free(unsafe.Pointer(path))
	var names [C.DESCANT_KERNELS]*C.char
	for i, s := range []string{BGMV, Attend, packedKernel, linearKernel, pullKernel, Adapted, Flash, FlashPull} {
		names[i] = C.CString(s)
		defer C.free(unsafe.Pointer(names[i]))
	}
	if why := C.descant_register_kernels(path, &names[0], C.int64_t(runtime.GOMAXPROCS(0))); why != nil {
		return errors.New(C.GoString(why))
	}
	return nil
})

// Call is that of a kernel of [WithKernels], or of the function.
func (f extendedFunction) Call(target compute.Function, inputs ...compute.Value) ([]compute.Value, error) {
	if other, ok := target.(extendedFunction); ok {
		target = other.Function
	}
	kernel := f.builder.with.kernelOf(target.Name())
	if kernel.name == "" {
		return f.Function.Call(target, inputs...)
	}
	var in []shapes.Shape
	for _, input := range inputs {
		shape, err := f.builder.OpShape(input)
		if err != nil {
			return nil, err
		}
		in = append(in, shape)
	}
	out, err := kernel.results(in)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", target.Name(), err)
	}
	return foreignCall(f.Function, kernel.name, out, inputs...)
}

// kernel is what computes the calls of a function: its name for the plugin, and the shapes of the results for those of the inputs.
type kernel struct {
	name    string
	results func(in []shapes.Shape) ([]shapes.Shape, error)
}

// kernelOf is the kernel for a function, or none.
func (e extended) kernelOf(function string) kernel {
	switch {
	case e.kernels && strings.HasPrefix(function, BGMV):
		return kernel{BGMV, bgmvResults}
	case (e.halves || e.packs) && strings.HasPrefix(function, Adapted):
		return kernel{Adapted, adaptedResults}
	case e.kernels && strings.HasPrefix(function, Attend):
		return kernel{Attend, attendResults}
	case e.kernels && strings.HasPrefix(function, Flash):
		return kernel{Flash, flashResults}
	case e.kernels && strings.HasPrefix(function, FlashPull):
		return kernel{FlashPull, flashPullResults}
	case e.halves && strings.HasPrefix(function, HalvesPacked):
		return kernel{packedKernel, packedResults}
	case e.halves && strings.HasPrefix(function, HalvesLinear):
		return kernel{linearKernel, linearResults(0)}
	case e.halves && strings.HasPrefix(function, HalvesPull):
		return kernel{pullKernel, linearResults(1)}
	}
	return kernel{}
}

// packedResults are the shapes of the results for those of x and a packed matrix.
func packedResults(in []shapes.Shape) ([]shapes.Shape, error) {
	if len(in) != 2 || in[0].Rank() != 2 || in[1].Rank() != 3 {
		return nil, fmt.Errorf("it takes x [rows, in] and a packed matrix, not %v", in)
	}
	return []shapes.Shape{shapes.Make(dtypes.Float32, in[0].Dim(0), in[1].Dim(0)*in[1].Dim(2))}, nil
}

// linearResults are the shapes of the results for those of pairs of x and a plain matrix whose axis the outputs are.
func linearResults(axis int) func(in []shapes.Shape) ([]shapes.Shape, error) {
	return func(in []shapes.Shape) ([]shapes.Shape, error) {
		if len(in) < 2 || in[0].Rank() != 2 || in[1].Rank() != 2 {
			return nil, fmt.Errorf("it takes pairs of x [rows, in] and a matrix, not %v", in)
		}
		return []shapes.Shape{shapes.Make(dtypes.Float32, in[0].Dim(0), in[1].Dim(axis))}, nil
	}
}

// bgmvResults are the shapes of the results for those of x, ranges, A and the Bs. What else must be true of them the kernel checks.
func bgmvResults(in []shapes.Shape) (list []shapes.Shape, err error) {
	if len(in) < 4 || in[0].Rank() != 2 {
		return nil, fmt.Errorf("it takes x [rows, in], ranges, A and the Bs, not %v", in)
	}
	for _, b := range in[3:] {
		if b.Rank() != 2 {
			return nil, fmt.Errorf("it takes matrices, not %v", in)
		}
		list = append(list, shapes.Make(dtypes.Float32, in[0].Dim(0), b.Dim(1)))
	}
	return list, nil
}

// adaptedResults are the shapes of the results for those of a packed matrix and what [bgmvResults] takes.
func adaptedResults(in []shapes.Shape) ([]shapes.Shape, error) {
	if len(in) < 5 {
		return nil, fmt.Errorf("it takes a packed matrix, x, ranges, A and the Bs, not %v", in)
	}
	base, err := packedResults([]shapes.Shape{in[1], in[0]})
	if err != nil {
		return nil, err
	}
	parts, err := bgmvResults(in[1:])
	return append(base, parts...), err
}

// attendResults are the shapes of the results for those of q and what follows it.
func attendResults(in []shapes.Shape) ([]shapes.Shape, error) {
	if len(in) != 8 || in[0].Rank() != 4 {
		return nil, fmt.Errorf("it takes q [rows, tokens, heads, dim], k, v, keys, values, cached, index and the window, not %v", in)
	}
	return []shapes.Shape{shapes.Make(dtypes.Float32, in[0].Dim(0), in[0].Dim(1), in[0].Dim(2)*in[0].Dim(3))}, nil
}

// flashResults is the shape of the result for those of q and what follows it.
func flashResults(in []shapes.Shape) ([]shapes.Shape, error) {
	if len(in) != 4 || in[0].Rank() != 4 {
		return nil, fmt.Errorf("it takes q [batch, seq, heads, dim], k, v and ranges, not %v", in)
	}
	return []shapes.Shape{shapes.Make(dtypes.Float32, in[0].Dim(0), in[0].Dim(1), in[0].Dim(2)*in[0].Dim(3))}, nil
}

// flashPullResults are the shapes of the gradients for those of q and what follows it.
func flashPullResults(in []shapes.Shape) ([]shapes.Shape, error) {
	if len(in) != 6 {
		return nil, fmt.Errorf("it takes q, k, v, ranges, the result and its gradient, not %v", in)
	}
	return []shapes.Shape{in[0], in[1], in[2]}, nil
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
