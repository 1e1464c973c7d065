package model

import (
	"errors"
	"fmt"
	"unsafe"

	"descant/pkg/device"
	"descant/pkg/safetensors"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// ErrNoBF16 says that a device cannot compute with weights in bf16.
var ErrNoBF16 = errors.New("the pure-Go backend has no usable bf16 product: use dtype f32 or auto, or the device xla or cuda")

// LoadBF16 is [Load] with every matrix in bf16 and in the files' own layout [out, in]; vectors (norms, biases)
// are float32. Matrices stored with more digits are rounded to the nearest and counted in [Model.Rounded].
//
// Such a model takes half the memory of [Load]'s, as that of [LoadHalvesOn] does. Its products round the other operand to bf16 too and add up
// in float32 (see [Product]).
func LoadBF16(dev *device.Device, dir string) (*Model, error) {
	if dev.Kind() == device.Go {
		return nil, ErrNoBF16
	}
	return LoadBF16On(dev.Backend(), dir)
}

// LoadBF16On is [LoadBF16] for a bare backend, which must be able to multiply bf16.
func LoadBF16On(backend compute.Backend, dir string) (*Model, error) {
	return load(backend, dir, dtypes.BFloat16)
}

// loadBF16 copies or rounds one matrix, in the files' layout.
func loadBF16(backend compute.Backend, set *safetensors.Set, t Tensor) (*Array, error) {
	info, _ := set.Info(t.Name)
	data := set.Bytes(t.Name)
	return fill16[bfloat16.BFloat16](backend, func(out []byte) error {
		if info.DType == safetensors.BF16 {
			copyMapped(out, data)
			return nil
		}
		defer Forget(data)
		size := info.DType.Size()
		const block = 1 << 16 // values; no second copy of a large tensor exists
		for at := 0; at < len(data)/size; at += block {
			end := min(at+block, len(data)/size)
			values, err := safetensors.DecodeFloat32(info.DType, data[at*size:end*size])
			if err != nil {
				return fmt.Errorf("tensor %s: %w", t.Name, err)
			}
			rounded, err := safetensors.EncodeFloat32(safetensors.BF16, values)
			if err != nil {
				return fmt.Errorf("tensor %s: %w", t.Name, err)
			}
			copy(out[2*at:], rounded)
		}
		return nil
	}, t.Shape...)
}

// fill16 makes an array of 16 bits a value whose little-endian bytes fill writes, in place where the device shares its memory.
func fill16[T bfloat16.BFloat16 | uint16](backend compute.Backend, fill func(out []byte) error, dims ...int) (*Array, error) {
	shape := shapes.Make(dtypes.FromGenericsType[T](), dims...)
	var values []T
	a := &Array{shape: shape}
	if backend.HasSharedBuffers() {
		buffer, flat, err := backend.NewSharedBuffer(0, shape)
		if err != nil {
			return nil, fmt.Errorf("allocate %s: %w", shape, err)
		}
		a.buffer = buffer
		var ok bool
		if values, ok = flat.([]T); !ok {
			a.Free()
			return nil, fmt.Errorf("allocate %s: the device gave %T", shape, flat)
		}
	} else {
		values = make([]T, shape.Size())
	}
	if err := fill(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 2*len(values))); err != nil {
		a.Free()
		return nil, err
	}
	if a.buffer == nil {
		buffer, err := backend.BufferFromFlatData(0, values, shape)
		if err != nil {
			return nil, fmt.Errorf("upload %s: %w", shape, err)
		}
		a.buffer = buffer
	}
	return a, nil
}

// Product is x·W: x [rows, in] f32 → [rows, out] f32.
//
// weight is [in, out] f32, or [out, in] in [Halves], which are f32, too, or in bf16; these may be packed ([Pack]). With bf16 x is rounded to bf16,
// products are exact and added up in f32.
// This mixture, and this layout of each, is what CPUs with bf16 instructions run fastest; a result in bf16 is
// slower. To autodiff a product with bf16 or halves is a constant, because the gradient that it would derive converts the weight
// to f32: add [PullProduct] by hand.
func Product(x, weight *Node) *Node {
	switch {
	case weight.DType() == Halves:
		return halvesProduct(x, weight)
	case weight.DType() != dtypes.BFloat16:
		return Dot(x, weight).General([]int{1}, nil, []int{0}, nil)
	case weight.Rank() == 3:
		return packedProduct(x, weight)
	}
	return StopGradient(Contract(dtypes.BFloat16, x, 1, weight, 1))
}

// AdaptedProduct is [Product] with what an adapter adds: x·W + low·Bᵀ, low [rows, rank] f32 and b [out, rank] f32. With a weight in bf16 these are rounded to it,
// too; with one in halves the sum is one product, a constant to autodiff.
func AdaptedProduct(x, weight, low, b *Node) *Node {
	if weight.DType() == Halves && weight.Rank() == 2 {
		return halvesCall(device.HalvesLinear, 1, x, weight, low, b)
	}
	return Add(Product(x, weight), Contract(Arithmetic(weight.DType()), low, 1, b, 1))
}

// PullProduct is the gradient of [Product] to x: dy [rows, out] f32 → [rows, in] f32.
func PullProduct(dy, weight *Node) *Node { return PullProducts([]*Node{dy}, []*Node{weight}, nil, nil) }

// PullProducts is the gradient of several products of one x to it: of each dy [rows, out] f32 → [rows, in] f32, their sum. With low [rows, rank] f32 and
// a [rank, in] f32, unless they are nil, low·a is in it, as what their adapters pull.
func PullProducts(dys, weights []*Node, low, a *Node) (dx *Node) {
	var pairs []*Node
	for i, weight := range weights {
		switch weight.DType() {
		case dtypes.BFloat16:
			dx = plus(dx, Contract(dtypes.BFloat16, dys[i], 1, weight, 0))
		case Halves:
			pairs = append(pairs, dys[i], weight)
		default:
			dx = plus(dx, Dot(dys[i], weight).General([]int{1}, nil, []int{1}, nil))
		}
	}
	switch {
	case low != nil && dx == nil:
		pairs = append(pairs, low, a)
	case low != nil:
		dx = plus(dx, Contract(Arithmetic(weights[0].DType()), low, 1, a, 0))
	}
	if len(pairs) > 0 {
		dx = plus(dx, halvesCall(device.HalvesPull, 0, pairs...))
	}
	return dx
}

// HeadProduct gives logits: x [rows, hidden] f32, head [vocab, hidden] f32, or in bf16 or [Halves], which may be packed → [rows, vocab] f32. To autodiff
// it is a constant where the head is not f32.
func HeadProduct(x, head *Node) *Node {
	if head.DType() != dtypes.Float32 {
		return Product(x, head)
	}
	return Dot(x, head).General([]int{1}, nil, []int{1}, nil)
}

// HeadRounded is x as [HeadProduct] multiplies it: rounded to bf16 where the head is.
func HeadRounded(x, head *Node) *Node { return Through(Arithmetic(head.DType()), x) }

// Arithmetic is what products with matrices of a dtype round the other operand to: bf16 with bf16, and f32 otherwise.
func Arithmetic(dtype dtypes.DType) dtypes.DType {
	if dtype == dtypes.BFloat16 {
		return dtype
	}
	return dtypes.Float32
}

// PullHeadProduct is the gradient of [HeadProduct] to x: d [rows, vocab] f32 → [rows, hidden] f32.
func PullHeadProduct(d, head *Node) *Node {
	if head.DType() != dtypes.Float32 {
		return PullProduct(d, head)
	}
	return Dot(d, head).General([]int{1}, nil, []int{0}, nil)
}

// Contract multiplies two matrices over an axis of each, or a batch of such pairs, whose leading axes are the same. With dtype bf16
// both are rounded to bf16 first, products are exact and added up in f32; with f32 they are taken as they are. The result is f32. To
// autodiff a bf16 one is what it is in f32.
func Contract(dtype dtypes.DType, x *Node, xAxis int, y *Node, yAxis int) *Node {
	batch := make([]int, x.Rank()-2)
	for i := range batch {
		batch[i] = i
	}
	if dtype == dtypes.Float32 {
		return Dot(x, y).General([]int{xAxis}, batch, []int{yAxis}, batch)
	}
	x, y = ConvertDType(x, dtype), ConvertDType(y, dtype)
	return Dot(x, y).WithOutputDType(dtypes.Float32).General([]int{xAxis}, batch, []int{yAxis}, batch)
}

// Through rounds x [f32] to a dtype and gives it back in f32.
func Through(dtype dtypes.DType, x *Node) *Node {
	return ConvertDType(ConvertDType(x, dtype), x.DType())
}
