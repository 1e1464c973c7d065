package generate

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// widest is the largest number of inputs for which XLA on a CPU multiplies one row with a bf16 matrix as fast as it reads
// the matrix. One of 4096 and more it converts to f32 first: three times slower (896 outputs of 4864 inputs: 1.4 ms whole,
// 0.4 ms in two pieces). Several rows do not care.
const widest = 3584

// input is a parameter of the graph of a run of layers. Weights are model.Config.LayerTensors, pieces of one, or several in one.
type input struct {
	name  string
	shape shapes.Shape
}

// piece names the i-th piece of a matrix that is cut.
func piece(matrix string, i int) string { return fmt.Sprintf("%s/%d", matrix, i) }

// arrangement says in which form a stepper holds matrices in bf16 or halves on a CPU.
type arrangement struct {
	// pack: as oneDNN packs them, where that gives the same products ([model.Packable]). Halves are always packed.
	pack bool
	// widest is the largest number of inputs of a matrix that is neither packed nor cut.
	widest int
}

// fastest is the arrangement for everything but tests.
func fastest() arrangement { return arrangement{pack: true, widest: widest} }

// arrange brings the matrices in bf16 or halves of the layers into their form and lists the inputs that the layers then have. packed are the
// groups of model.Config.SharedInputs whose matrices become one that is packed.
func (s *stepper) arrange(a arrangement, packed []bool) error {
	forms := map[string]*model.Program{}
	defer func() {
		for _, f := range forms {
			f.Close()
		}
	}()
	// form runs the form of some matrices, compiled once for their shapes.
	form := func(pack bool, matrices ...*model.Array) ([]*model.Array, error) {
		list := shapesOf(matrices)
		key := fmt.Sprint(list, pack)
		if forms[key] == nil {
			var err error
			if forms[key], err = compileForm(s.compiler, list, pack, a.widest); err != nil {
				return nil, err
			}
		}
		pieces, err := forms[key].Run(matrices...)
		if err == nil {
			model.FreeAll(matrices...)
		}
		return pieces, err
	}
	for layer, tensors := range s.base.Layers {
		var list []*model.Array
		s.plan.weights = nil
		add := func(name string, w *model.Array) {
			list, s.plan.weights = append(list, w), append(s.plan.weights, input{name, w.Shape()})
		}
		for i, t := range s.base.Config.LayerTensors() {
			shape := tensors[i].Shape()
			group, at := s.plan.group(moduleOf(t.Name))
			switch {
			case group >= 0 && packed[group]:
				if at > 0 {
					continue // it went into the first one's
				}
				joined, err := form(true, s.matrices(group, tensors)...)
				if err != nil {
					return err
				}
				add(joinedName(s.plan.config.SharedInputs()[group]), joined[0])
			case !s.plan.inPlace || shape.DType != dtypes.BFloat16 || shape.Rank() != 2 || shape.Dim(1) <= a.widest:
				add(t.Name, tensors[i])
			default:
				pieces, err := form(false, tensors[i])
				if err != nil {
					return err
				}
				for k, p := range pieces {
					add(piece(t.Name, k), p)
				}
			}
		}
		s.base.Layers[layer] = list
	}
	return nil
}

// packable finds out of which groups of model.Config.SharedInputs, and whether of the output matrix, a packed matrix can be made
// for all batches of the engine.
func (s *stepper) packable(a arrangement) (groups []bool, head bool, err error) {
	groups = make([]bool, len(s.plan.config.SharedInputs()))
	switch {
	case s.plan.head.DType == model.Halves: // the kernel and its layout are ours
		for group := range groups {
			groups[group] = true
		}
		return groups, true, nil
	case !a.pack || !s.compiler.Packs() || s.plan.head.DType != dtypes.BFloat16:
		return groups, false, nil
	}
	list := []*model.Array{s.base.Head}
	defer func() { model.FreeAll(list[1:]...) }()
	for group := range groups {
		joined, err := s.joined(s.matrices(group, s.base.Layers[0]))
		if err != nil {
			return nil, false, err
		}
		list = append(list, joined)
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
		return nil, false, fmt.Errorf("try packed matrices: %w", err)
	}
	return fits[1:], fits[0], nil
}

// matrices are those of a group among the tensors of a layer.
func (s *stepper) matrices(group int, tensors []*model.Array) (list []*model.Array) {
	for i, t := range s.plan.config.LayerTensors() {
		if g, _ := s.plan.group(moduleOf(t.Name)); g == group {
			list = append(list, tensors[i])
		}
	}
	return list
}

// joined makes one matrix of those of a group.
func (s *stepper) joined(matrices []*model.Array) (*model.Array, error) {
	program, err := compileForm(s.compiler, shapesOf(matrices), false, math.MaxInt)
	if err != nil {
		return nil, err
	}
	defer program.Close()
	results, err := program.Run(matrices...)
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

func shapesOf(matrices []*model.Array) (list []shapes.Shape) {
	for _, m := range matrices {
		list = append(list, m.Shape())
	}
	return list
}

// group is the place of a module in model.Config.SharedInputs, and among those that are there; -1 for what is none of them.
func (p layerPlan) group(module string) (group, at int) {
	for group, list := range p.config.SharedInputs() {
		at := slices.IndexFunc(list, func(projection model.Projection) bool { return projection.Module == module })
		if at >= 0 {
			return group, at
		}
	}
	return -1, 0
}

// moduleOf is the module whose matrix a tensor is; other tensors keep their names.
func moduleOf(tensor string) string { return strings.TrimSuffix(tensor, ".weight") }

// compileForm compiles the joining of matrices [out, in] with one input, and then its packing, or its cutting into pieces with at
// most limit inputs, as equal as can be.
func compileForm(c *model.Compiler, list []shapes.Shape, pack bool, limit int) (*model.Program, error) {
	return c.Compile(fmt.Sprint("another form of ", list), list, func(_ *Graph, n []*Node) (pieces []*Node) {
		w := Concatenate(n, 0)
		if pack {
			return []*Node{model.Pack(w)}
		}
		in := w.Shape().Dim(1)
		count := (in-1)/limit + 1
		for i := range count {
			pieces = append(pieces, Slice(w, AxisRange(), AxisRange(i*in/count, (i+1)*in/count)))
		}
		return pieces
	})
}

// joinedName names the matrix that is made of those of a group: of one matrix it is its own name.
func joinedName(group []model.Projection) string {
	var names []string
	for _, p := range group {
		names = append(names, p.Module)
	}
	return strings.Join(names, "+") + ".weight"
}

// product is [model.Plain] with the matrix of a module, whole, joined with others or in pieces.
func (l *layerGraph) product(module string, x, weight, bias *Node) *Node {
	i, at := l.group(module)
	group := l.config.SharedInputs()[i]
	name := joinedName(group)
	if joined := l.in[name]; joined != nil {
		if l.products[name] == nil {
			l.products[name] = model.Product(x, joined)
		}
		y, first := l.products[name], 0
		for _, p := range group[:at] {
			first += p.Out
		}
		if len(group) > 1 {
			y = SliceAxis(y, 1, AxisRange(first, first+group[at].Out))
		}
		return model.Plus(y, bias)
	}
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
