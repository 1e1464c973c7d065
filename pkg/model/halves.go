package model

import (
	"fmt"

	"descant/pkg/device"
	"descant/pkg/safetensors"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Halves is the dtype of matrices that hold the upper halves of f32 values whose lower halves are zero: what a bf16 file holds, but meant as
// f32. Products with them are those of f32, in half of the memory.
const Halves = dtypes.Uint16

// LoadHalvesOn is [LoadOn] with every matrix in [Halves], in the files' own layout [out, in], if all of them are stored in bf16; otherwise
// it is [LoadOn]. Only [Widen], [Embed] and, packed, [Product] take such matrices.
func LoadHalvesOn(backend compute.Backend, dir string) (*Model, error) {
	return load(backend, dir, Halves)
}

// loadHalves copies one matrix that is stored in bf16, in the files' layout.
func loadHalves(backend compute.Backend, set *safetensors.Set, t Tensor) (*Array, error) {
	data := set.Bytes(t.Name)
	defer Forget(data)
	return fill16[uint16](backend, func(out []byte) error {
		copy(out, data)
		return nil
	}, t.Shape...)
}

// allBF16 tells whether all matrices of a base are stored in bf16.
func allBF16(cfg *Config, set *safetensors.Set) bool {
	for _, t := range cfg.Tensors() {
		if info, _ := set.Info(t.Name); len(t.Shape) == 2 && info.DType != safetensors.BF16 {
			return false
		}
	}
	return true
}

// Widen gives halves as the f32 that they mean.
func Widen(halves *Node) *Node {
	return ConvertDType(Bitcast(halves, dtypes.BFloat16), dtypes.Float32)
}

// halvesProduct is [Product] with a packed matrix of halves.
func halvesProduct(x, weight *Node) *Node {
	name := fmt.Sprintf("%s_%d_%d_%d", device.Halves, x.Shape().Dim(0), weight.Shape().Dim(0), weight.Shape().Dim(1))
	y := Call(name, []*Node{x, weight}, func(in []*Node) []*Node {
		return []*Node{Dot(in[0], Widen(Unpack(in[1]))).General([]int{1}, nil, []int{1}, nil)}
	})
	return StopGradient(y[0])
}
