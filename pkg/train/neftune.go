package train

import (
	"math"

	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// noiseStream keeps NEFTune's random numbers apart from dropout's.
const noiseStream = 0x6e656674756e65 // "neftune"

// addNoise adds NEFTune's noise (Jain et al. 2023) to the embeddings of a micro-batch: uniform within
// ±alpha/√(L·d), where L is the number of tokens of the row, padding not counted, and d the width of the embedding.
// The numbers follow from the micro-batch's seed and the place alone.
func (e *engine) addNoise(p *passed, seed uint64) error {
	backend := e.compiler.Backend()
	scales := make([]float32, len(p.batch.ids))
	for _, d := range p.batch.documents {
		scale := float32(e.noise / math.Sqrt(float64(d.length)*float64(e.config.Hidden)))
		for i := d.start; i < d.start+d.length; i++ {
			scales[i] = scale
		}
	}
	scale, err := model.Upload(backend, scales, p.batch.rows, p.batch.width)
	if err != nil {
		return err
	}
	defer scale.Free()
	key, err := model.Upload(backend, []uint32{uint32(mix(seed ^ noiseStream))})
	if err != nil {
		return err
	}
	defer key.Free()
	out, err := e.run("neftune", noiseGraph, p.inputs[0], scale, key)
	if err != nil {
		return err
	}
	p.inputs[0].Free()
	p.inputs[0] = out[0]
	return nil
}

// noiseGraph adds uniform noise to x [batch, seq, hidden], within ±scale [batch, seq]. Which numbers is a hash (the
// finaliser of MurmurHash3) of key (uint32) and place, the same on every device.
func noiseGraph(in []*Node) []*Node {
	x, scale, key := in[0], in[1], in[2]
	dims := x.Shape().Dimensions
	shape := shapes.Make(dtypes.Uint32, dims...)
	place := Iota(x.Graph(), shapes.Make(dtypes.Uint32, x.Shape().Size()), 0)
	h := Add(MulScalar(Reshape(place, dims...), uint32(0x9e3779b1)), BroadcastToDims(MulScalar(key, uint32(0x85ebca77)), shape.Dimensions...))
	h = MulScalar(BitwiseXor(h, BitwiseShiftRightLogicalScalar(h, uint32(16))), uint32(0x85ebca6b))
	h = MulScalar(BitwiseXor(h, BitwiseShiftRightLogicalScalar(h, uint32(13))), uint32(0xc2b2ae35))
	h = BitwiseXor(h, BitwiseShiftRightLogicalScalar(h, uint32(16)))
	// 24 bits are exact in float32: k + 1/2 of 2^24 parts of (-1, 1).
	u := ConvertDType(BitwiseShiftRightLogicalScalar(h, uint32(8)), dtypes.Float32)
	u = AddScalar(MulScalar(u, 1.0/(1<<23)), 1.0/(1<<24)-1)
	return []*Node{Add(x, Mul(u, BroadcastToDims(ExpandAxes(scale, -1), dims...)))}
}
