package train

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
)

// adamW holds the constants of the optimizer (Loshchilov and Hutter 2019, torch.optim.AdamW).
type adamW struct {
	beta1, beta2, epsilon, weightDecay float64
	// ratio is that of LoRA+ (Hayou et al. 2024): the B matrices of an adapter learn at the learning rate times this.
	// 0 and 1 turn it off.
	ratio float64
}

// loraPlus says whether parameters learn at rates of their own.
func (o adamW) loraPlus() bool { return o.ratio != 0 && o.ratio != 1 }

// adamScalars is the number of scalars that change from step to step.
const adamScalars = 5

// scalars gives what the update of a step needs: the factor on the gradient (clipping), lr / (1-β1^t),
// 1/√(1-β2^t), lr·decay and a spare. step counts from 1.
func (o adamW) scalars(step int, lr, clip float64) []float32 {
	t := float64(step)
	return []float32{
		float32(clip),
		float32(lr / (1 - math.Pow(o.beta1, t))),
		float32(1 / math.Sqrt(1-math.Pow(o.beta2, t))),
		float32(lr * o.weightDecay),
		float32(o.epsilon),
	}
}

// graph builds one update: p ← p·(1 − lr·decay), m ← β1·m + (1−β1)·g, v ← β2·v + (1−β2)·g²,
// p ← p − lr·m̂ / (√v̂ + ε). Inputs: p, g, m, v, decay mask (all of one shape), scalars [5], and with LoRA+ the factors
// on the learning rate (of that shape too), which also scale the decay, as a parameter group's rate does. Outputs: p, m, v.
func (o adamW) graph(in []*Node) []*Node {
	p, g, m, v, mask, scalars := in[0], in[1], in[2], in[3], in[4], in[5]
	dims := p.Shape().Dimensions
	scalar := func(i int) *Node {
		return BroadcastToDims(Reshape(Slice(scalars, AxisRange(i, i+1))), dims...)
	}
	g = Mul(g, scalar(0))
	m = Add(MulScalar(m, o.beta1), MulScalar(g, 1-o.beta1))
	v = Add(MulScalar(v, o.beta2), MulScalar(Mul(g, g), 1-o.beta2))
	decay, rate := Mul(mask, scalar(3)), scalar(1)
	if len(in) > 6 {
		decay, rate = Mul(decay, in[6]), Mul(rate, in[6])
	}
	p = Sub(p, Mul(p, decay))
	p = Sub(p, Mul(rate, Div(m, Add(Mul(Sqrt(v), scalar(2)), scalar(4)))))
	return []*Node{p, m, v}
}

// squareSumGraph is the sum of squares of an array, added up in float64.
func squareSumGraph(in []*Node) []*Node {
	return []*Node{ReduceAllSum(Square(ConvertDType(in[0], dtypes.Float64)))}
}

// clipFactor is min(1, limit / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ computes it; a limit of 0
// turns clipping off.
func clipFactor(norm, limit float64) float64 {
	if limit <= 0 {
		return 1
	}
	return min(1, limit/(norm+1e-6))
}
