package generate

import (
	"fmt"
	"slices"

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

// arrangement says in which form a stepper holds bf16 matrices on a CPU.
type arrangement struct {
	// pack: as oneDNN packs them, where that gives the same products ([model.Packable]).
	pack bool
	// widest is the largest number of inputs of a matrix that is neither packed nor cut.
	widest int
}

// fastest is the arrangement for everything but tests.
func fastest() arrangement { return arrangement{pack: true, widest: widest} }

// arrange brings the bf16 matrices of the layers into their form and lists the inputs that the layers then have.
func (s *stepper) arrange(a arrangement, packable func(*model.Array) bool) error {
	forms := map[string]*model.Program{}
	defer func() {
		for _, f := range forms {
			f.Close()
		}
	}()
	for layer, tensors := range s.base.Layers {
		var list []*model.Array
		s.plan.weights = nil
		for i, t := range s.base.Config.LayerTensors() {
			shape := tensors[i].Shape()
			pack := packable(tensors[i])
			if !pack && (!s.plan.inPlace || shape.DType != dtypes.BFloat16 || shape.Rank() != 2 || shape.Dim(1) <= a.widest) {
				list = append(list, tensors[i])
				s.plan.weights = append(s.plan.weights, weight{t.Name, shape})
				continue
			}
			if forms[shape.String()] == nil {
				var err error
				if forms[shape.String()], err = compileForm(s.compiler, shape, pack, a.widest); err != nil {
					return err
				}
			}
			pieces, err := forms[shape.String()].Run(tensors[i])
			if err != nil {
				return err
			}
			tensors[i].Free()
			list = append(list, pieces...)
			if pack {
				s.plan.weights = append(s.plan.weights, weight{t.Name, pieces[0].Shape()})
				continue
			}
			for k, p := range pieces {
				s.plan.weights = append(s.plan.weights, weight{piece(t.Name, k), p.Shape()})
			}
		}
		s.base.Layers[layer] = list
	}
	return nil
}

// packable finds out which shapes of matrices can be packed for all batches of the engine.
func (s *stepper) packable(a arrangement) (func(*model.Array) bool, error) {
	fit := map[string]bool{}
	if a.pack && s.compiler.Packs() {
		var list []*model.Array
		for _, w := range append(slices.Clone(s.base.Layers[0]), s.base.Head) {
			if !slices.ContainsFunc(list, func(o *model.Array) bool { return o.Shape().Equal(w.Shape()) }) {
				list = append(list, w)
			}
		}
		var rows []int
		shapes, _ := s.plan.shapes(slices.Max(s.contexts))
		for _, shape := range shapes {
			if n := shape.rows * shape.tokens; !slices.Contains(rows, n) {
				rows = append(rows, n)
			}
		}
		fits, err := model.Packable(s.compiler, rows, list)
		if err != nil {
			return nil, fmt.Errorf("try packed matrices: %w", err)
		}
		for i, w := range list {
			fit[w.Shape().String()] = fits[i]
		}
	}
	return func(w *model.Array) bool { return fit[w.Shape().String()] }, nil
}

// compileForm compiles the packing of a matrix [out, in], or the cutting into pieces with at most limit inputs, as equal as
// can be.
func compileForm(c *model.Compiler, shape shapes.Shape, pack bool, limit int) (*model.Program, error) {
	in := shape.Dim(1)
	count := (in + limit - 1) / limit
	return c.Compile("another form of "+shape.String(), []shapes.Shape{shape}, func(_ *Graph, n []*Node) (pieces []*Node) {
		if pack {
			return []*Node{model.Pack(n[0])}
		}
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
