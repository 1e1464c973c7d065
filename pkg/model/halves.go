package model

import (
	"descant/pkg/device"
	"descant/pkg/safetensors"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Halves is the dtype of matrices that hold the upper halves of f32 values whose lower halves are zero: what a bf16 file holds, but meant as
// f32. Products with them are those of f32, in half of the memory.
const Halves = dtypes.Uint16

// LoadHalvesOn is [LoadOn] with every matrix in [Halves], in the files' own layout [out, in], if the backend has kernels for them, all matrices are
// stored in bf16, and their dimensions are those that the kernels take. Otherwise it is [LoadOn].
func LoadHalvesOn(backend compute.Backend, dir string) (*Model, error) {
	if !device.HasHalves(device.Fastest(backend)) {
		return LoadOn(backend, dir)
	}
	return load(backend, dir, Halves)
}

// loadHalves copies one matrix that is stored in bf16, in the files' layout.
func loadHalves(backend compute.Backend, set *safetensors.Set, t Tensor) (*Array, error) {
	return fill16[uint16](backend, func(out []byte) error {
		copyMapped(out, set.Bytes(t.Name))
		return nil
	}, t.Shape...)
}

// fitHalves tells whether all matrices of a base can be in [Halves].
func fitHalves(cfg *Config, set *safetensors.Set) bool {
	for _, t := range cfg.Tensors() {
		info, _ := set.Info(t.Name)
		if len(t.Shape) == 2 && (info.DType != safetensors.BF16 || t.Shape[0]%device.PackedWidth != 0 || t.Shape[1]%device.PackedWidth != 0) {
			return false
		}
	}
	return true
}

// Widen gives values of any dtype of matrices in f32: halves as what they mean.
func Widen(x *Node) *Node {
	if x.DType() == Halves {
		x = Bitcast(x, dtypes.BFloat16)
	}
	return ConvertDType(x, dtypes.Float32)
}

// halvesProduct is [Product] with a matrix of halves, packed or not.
func halvesProduct(x, weight *Node) *Node {
	if weight.Rank() == 3 {
		return halvesCall(device.HalvesPacked, 1, x, weight)
	}
	return halvesCall(device.HalvesLinear, 1, x, weight)
}

// halvesCall is Σ x·W by a kernel, over an axis of each W, or of what it was packed of: pairs are each x and its W, in halves or, in the last pair, in f32.
func halvesCall(kernel string, axis int, pairs ...*Node) *Node {
	y := Call(nameOf(kernel, pairs), pairs, func(in []*Node) []*Node {
		var sum *Node
		for i := 0; i < len(in); i += 2 {
			w := in[i+1]
			if w.Rank() == 3 {
				w = Unpack(w)
			}
			sum = plus(sum, Contract(dtypes.Float32, in[i], 1, Widen(w), axis))
		}
		return []*Node{sum}
	})
	return StopGradient(y[0])
}

// plus is the sum of two nodes, of which the first may be missing.
func plus(sum, n *Node) *Node {
	if sum == nil {
		return n
	}
	return Add(sum, n)
}
