package model

import "math"

// Factors are what the frequencies of the unscaled embedding are divided by, one for each of the HeadDim/2 pairs;
// scaled says whether any is not 1.
func (r Rope) Factors(headDim int) (factors []float32, scaled bool) {
	for i, plain := range inverseFrequencies(r.Theta, headDim) {
		factor := float64(plain) / float64(r.InvFreq[i])
		if math.Abs(factor-1) < 1e-6 { // rounded at different places
			factor = 1
		}
		scaled = scaled || factor != 1
		factors = append(factors, float32(factor))
	}
	return factors, scaled
}
