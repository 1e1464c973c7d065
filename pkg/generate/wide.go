package generate

import (
	"fmt"

	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// widest is the largest number of inputs for which XLA on a CPU multiplies one row with a bf16 matrix as fast as it reads
// the matrix. One of 4096 and more it converts to f32 first: three times slower (896 outputs of 4864 inputs: 1.4 ms whole,
// 0.4 ms in two pieces). Several rows do not care.
const widest = 3584

// weight is an input of a layer's graph: one of model.Config.LayerTensors, or one of its pieces.
type weight struct {
	name  string
	shape shapes.Shape
}

// piece names the i-th piece of a matrix that is cut.
func piece(matrix string, i int) string { return fmt.Sprintf("%s/%d", matrix, i) }

// cutWide replaces, on a CPU, every bf16 matrix [out, in] of the layers that has more than limit inputs by pieces with equal
// numbers of inputs, as near as they can be, and lists the inputs that the layers then have.
func (s *stepper) cutWide(limit int) error {
	cutters := map[string]*model.Program{}
	defer func() {
		for _, c := range cutters {
			c.Close()
		}
	}()
	for layer, tensors := range s.base.Layers {
		var list []*model.Array
		s.plan.weights = nil
		for i, t := range s.base.Config.LayerTensors() {
			shape := tensors[i].Shape()
			if !s.plan.inPlace || shape.DType != dtypes.BFloat16 || shape.Rank() != 2 || shape.Dim(1) <= limit {
				list = append(list, tensors[i])
				s.plan.weights = append(s.plan.weights, weight{t.Name, shape})
				continue
			}
			if cutters[shape.String()] == nil {
				var err error
				if cutters[shape.String()], err = compileCutter(s.compiler, shape, limit); err != nil {
					return err
				}
			}
			pieces, err := cutters[shape.String()].Run(tensors[i])
			if err != nil {
				return err
			}
			tensors[i].Free()
			for k, p := range pieces {
				list = append(list, p)
				s.plan.weights = append(s.plan.weights, weight{piece(t.Name, k), p.Shape()})
			}
		}
		s.base.Layers[layer] = list
	}
	return nil
}

// compileCutter compiles the cutting of a matrix [out, in] into pieces with at most limit inputs.
func compileCutter(c *model.Compiler, shape shapes.Shape, limit int) (*model.Program, error) {
	in := shape.Dim(1)
	count := (in + limit - 1) / limit
	return c.Compile("pieces of "+shape.String(), []shapes.Shape{shape}, func(_ *Graph, n []*Node) (pieces []*Node) {
		for i := range count {
			pieces = append(pieces, Slice(n[0], AxisRange(), AxisRange(i*in/count, (i+1)*in/count)))
		}
		return pieces
	})
}

// product is [model.Plain] with the matrix of a module, whole or in pieces.
func (l *layerGraph) product(module string, x, weight, bias *Node) *Node {
	if weight != nil {
		return model.Plain(module, x, weight, bias)
	}
	var y *Node
	for i, at := 0, 0; at < x.Shape().Dim(1); i++ {
		part := l.in[piece(module+".weight", i)]
		end := at + part.Shape().Dim(1)
		if sum := model.Product(Slice(x, AxisRange(), AxisRange(at, end)), part); y == nil {
			y = model.Plus(sum, bias)
		} else {
			y = Add(y, sum)
		}
		at = end
	}
	return y
}
