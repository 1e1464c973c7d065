package lora

import (
	"math"

	"descant/pkg/job"
)

// Init gives the flat arrays of a new adapter as PEFT initialises it: B zero, and A uniform within ±1/√in (Kaiming with
// a = √5) or, with [job.InitGaussian], normal with standard deviation 1/rank. The numbers depend only on seed and
// place, not on the order of computation; they are not PyTorch's.
func (p *Plan) Init(seed int64) [][]float32 {
	flats := make([][]float32, len(p.Layers))
	for layer, modules := range p.Layers {
		flat := make([]float32, p.Size(layer))
		for _, m := range modules {
			stream := mix(uint64(seed) ^ hashName(m.Name))
			a := flat[m.A : m.A+m.Rank*m.In]
			if p.Config.Init == job.InitGaussian {
				gaussian(a, stream, 1/float64(m.Rank))
			} else {
				uniform(a, stream, 1/math.Sqrt(float64(m.In)))
			}
		}
		flats[layer] = flat
	}
	return flats
}

// uniform fills values within ±bound.
func uniform(values []float32, stream uint64, bound float64) {
	for i := range values {
		values[i] = float32((2*unit(stream+uint64(i)) - 1) * bound)
	}
}

// gaussian fills values by the method of Box and Muller (1958), two of them from two uniform numbers.
func gaussian(values []float32, stream uint64, deviation float64) {
	for i := range values {
		pair := stream + uint64(i&^1)
		// 1-u lies above 0, where the logarithm is finite.
		radius := deviation * math.Sqrt(-2*math.Log(1-unit(pair)))
		sin, cos := math.Sincos(2 * math.Pi * unit(pair+1))
		if i&1 == 0 {
			values[i] = float32(radius * cos)
		} else {
			values[i] = float32(radius * sin)
		}
	}
}

// unit is a number from 0 to below 1.
func unit(at uint64) float64 { return float64(mix(at)>>11) / (1 << 53) }

// mix is the output function of SplitMix64 (Steele, Lea, Flood 2014): a bijection that looks random.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashName is FNV-1a.
func hashName(name string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 0x100000001b3
	}
	return h
}
