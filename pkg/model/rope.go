package model

import (
	"math"

	. "github.com/gomlx/gomlx/core/graph"
)

// Rope is the rotary position embedding: which angle each pair of a head's elements turns per position.
type Rope struct {
	// Theta is the base of the frequencies.
	Theta float64
	// InvFreq are the angles per position in radians, one for each of the HeadDim/2 pairs, rounded to
	// float32 exactly where the reference rounds.
	InvFreq []float32

	// stretch is the factor of dynamic scaling and original the length up to which it changes nothing; 0 for the
	// other kinds.
	stretch  float64
	original int
}

// readRope reads both layouts: rope_theta with rope_scaling, and transformers 5's rope_parameters. As there
// (modeling_rope_utils.py, convert_rope_params_to_dict), rope_scaling wins where both are given.
func readRope(r *reader, c *Config) Rope {
	none := map[string]any(nil)
	scaling := &reader{fields: field(r, "rope_scaling", "an object", none)}
	if len(scaling.fields) == 0 {
		scaling.fields = field(r, "rope_parameters", "an object", none)
	}
	theta := scaling.number("rope_theta", r.number("rope_theta", 10000))
	rope := Rope{Theta: theta, InvFreq: inverseFrequencies(theta, c.HeadDim)}
	kind := scaling.text("rope_type", scaling.text("type", "default"))
	switch kind {
	case "default":
	case "linear":
		factor := scaling.factor(kind)
		for i := range rope.InvFreq {
			rope.InvFreq[i] /= float32(factor)
		}
	case "dynamic":
		rope.stretch, rope.original = scaling.factor(kind), c.MaxPositions
		if c.HeadDim < 4 {
			r.problem("rope scaling dynamic needs head_dim ≥ 4 (found %d)", c.HeadDim)
		}
	case "llama3":
		original := scaling.number("original_max_position_embeddings", float64(c.MaxPositions))
		original = r.number("original_max_position_embeddings", original)
		scaleLlama3(rope.InvFreq, scaling.number("factor", 0), scaling.number("low_freq_factor", 0),
			scaling.number("high_freq_factor", 0), original, r)
	default:
		r.problem("rope type %q is not supported (supported: default, linear, dynamic, llama3)", kind)
	}
	if p := scaling.number("partial_rotary_factor", r.number("partial_rotary_factor", 1)); p != 1 {
		r.problem("partial_rotary_factor %g is not supported (supported: 1)", p)
	}
	if theta <= 0 {
		r.problem("rope_theta %g is not above 0", theta)
	}
	r.problems = append(r.problems, scaling.problems...)
	return rope
}

// factor reads the factor of a kind of scaling.
func (r *reader) factor(kind string) float64 {
	factor := r.number("factor", 0)
	if factor < 1 {
		r.problem("rope scaling %s needs factor ≥ 1 (found %g)", kind, factor)
		return 1
	}
	return factor
}

// For gives the embedding of a sequence of so many tokens. Only dynamic scaling looks at the length, and only beyond
// the model's positions: its base grows with it (_compute_dynamic_ntk_parameters, in float32 as there). In the
// reference that length is the newest token's position + 1 when a token is decoded, and the whole prompt's for every
// token of the prompt; keys that are cached keep the angle that they were rotated by.
func (r Rope) For(length int) Rope {
	if r.Fixed(length) {
		return r
	}
	dim := 2 * len(r.InvFreq)
	grown := float32(r.stretch)*float32(length)/float32(r.original) - float32(r.stretch-1)
	power := float32(math.Pow(float64(grown), float64(float32(float64(dim)/float64(dim-2)))))
	r.InvFreq = inverseFrequencies(float64(float32(r.Theta)*power), dim)
	return r
}

// Fixed says that the embedding is the same for all sequences of up to so many tokens.
func (r Rope) Fixed(length int) bool { return r.stretch == 0 || length <= r.original }

// inverseFrequencies are 1 / theta^(2i/dim), with the exponent, the power and the quotient rounded to float32 as
// the reference computes them.
func inverseFrequencies(theta float64, dim int) []float32 {
	out := make([]float32, dim/2)
	for i := range out {
		exponent := float32(2*i) / float32(dim)
		out[i] = 1 / float32(math.Pow(theta, float64(exponent)))
	}
	return out
}

// scaleLlama3 stretches low frequencies by factor, keeps high ones, and blends those between
// (modeling_rope_utils.py, _compute_llama3_parameters).
func scaleLlama3(freqs []float32, factor, low, high, original float64, r *reader) {
	if factor < 1 || low <= 0 || high <= low || original <= 0 {
		r.problem("rope scaling llama3 needs factor ≥ 1, 0 < low_freq_factor < high_freq_factor and "+
			"original_max_position_embeddings > 0 (found %g, %g, %g, %g)", factor, low, high, original)
		return
	}
	for i, f := range freqs {
		wave := float32(2*math.Pi) / f
		switch {
		case float64(wave) > original/low:
			freqs[i] = f / float32(factor)
		case float64(wave) >= original/high:
			smooth := (float32(original)/wave - float32(low)) / float32(high-low)
			freqs[i] = (1-smooth)*f/float32(factor) + smooth*f
		}
	}
}

// Tables gives the cosines and sines of the angles at the positions, as two flat [len(positions), HeadDim/2]
// tables. They are computed here once rather than in each graph, so that all backends see the same numbers.
func (r Rope) Tables(positions []int) (cos, sin []float32) {
	half := len(r.InvFreq)
	cos = make([]float32, len(positions)*half)
	sin = make([]float32, len(positions)*half)
	for p, position := range positions {
		for i, f := range r.InvFreq {
			// The reference rounds the angle to float32 before it takes cosine and sine.
			s, c := math.Sincos(float64(float32(position) * f))
			cos[p*half+i], sin[p*half+i] = float32(c), float32(s)
		}
	}
	return cos, sin
}

// Rotate turns the pairs (i, i + HeadDim/2) of every head by the angles of its position.
//
// x: [batch, seq, heads, HeadDim]; cos, sin: [batch or 1, seq, HeadDim/2].
func Rotate(x, cos, sin *Node) *Node {
	half := x.Shape().Dim(3) / 2
	c, s := ExpandAxes(cos, 2), ExpandAxes(sin, 2)
	low := Slice(x, AxisRange(), AxisRange(), AxisRange(), AxisRange(0, half))
	high := Slice(x, AxisRange(), AxisRange(), AxisRange(), AxisRange(half))
	target := low.Shape().Dimensions
	c, s = BroadcastToDims(c, target...), BroadcastToDims(s, target...)
	return Concatenate([]*Node{
		Sub(Mul(low, c), Mul(high, s)),
		Add(Mul(high, c), Mul(low, s)),
	}, 3)
}
