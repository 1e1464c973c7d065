package generate

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"

	"descant/pkg/model"
)

// headPiece is the largest matrix, in elements, whose bf16 product with several rows XLA gives to its fast kernels on a
// CPU. Twice as large takes more than twice the time for each element (136 million elements, 4 rows: 208 ms of CPU time
// whole, 76 ms in pieces), and slicing within the graph copies, which takes what it saves.
const headPiece = 1 << 24

// splitHead cuts the output matrix [vocab, hidden] into pieces of whole rows with at most limit elements. One piece is the
// matrix itself.
func splitHead(c *model.Compiler, head *model.Array, limit int) ([]*model.Array, error) {
	vocab, hidden := head.Shape().Dim(0), head.Shape().Dim(1)
	if vocab*hidden <= limit {
		return []*model.Array{head}, nil
	}
	rows := max(1, limit/hidden)
	cut, err := c.Compile("pieces of the head", []shapes.Shape{head.Shape()}, func(_ *Graph, in []*Node) (parts []*Node) {
		for at := 0; at < vocab; at += rows {
			parts = append(parts, Slice(in[0], AxisRange(at, min(at+rows, vocab))))
		}
		return parts
	})
	if err != nil {
		return nil, err
	}
	defer cut.Close()
	return cut.Run(head)
}

// headShapes are the shapes of the output matrix as a batch takes it: whole, packed, or in pieces.
func (p layerPlan) headShapes(b batchShape) []shapes.Shape {
	if p.plainHead(b) {
		return []shapes.Shape{p.head}
	}
	return p.pieces
}

// plainHead says that a batch takes the output matrix as it is: one row, unless there is a packed one.
func (p layerPlan) plainHead(b batchShape) bool {
	packed := len(p.pieces) == 1 && p.pieces[0].Rank() == 3
	return !packed && b.rows == 1 && b.tokens == 1
}

// compileHead compiles final norm and output layer: x [rows, tokens, hidden], norm [hidden], head [vocab, hidden] or its
// pieces give logits [rows·tokens, vocab].
func compileHead(c *model.Compiler, plan layerPlan, b batchShape) (*model.Program, error) {
	cfg := plan.config
	inputs := append([]shapes.Shape{
		shapes.Make(dtypes.Float32, b.rows, b.tokens, cfg.Hidden),
		shapes.Make(dtypes.Float32, cfg.Hidden),
	}, plan.headShapes(b)...)
	return c.Compile(fmt.Sprintf("head of %d rows, %d tokens", b.rows, b.tokens), inputs, func(_ *Graph, in []*Node) []*Node {
		norm, heads := in[1], in[2:]
		x := model.RMSNorm(Reshape(in[0], b.rows*b.tokens, cfg.Hidden), norm, cfg.Eps)
		var parts []*Node
		for _, head := range heads {
			parts = append(parts, headProduct(x, head))
		}
		if len(parts) == 1 {
			return parts
		}
		return []*Node{Concatenate(parts, 1)}
	})
}

// headProduct gives the logits of x [rows, hidden].
func headProduct(x, head *Node) *Node {
	if x.Shape().Dim(0) == 1 || head.DType() != dtypes.Float32 {
		return model.HeadProduct(x, head)
	}
	// The head as the left operand: with it on the right, XLA's CPU kernels are up to nine times slower for a few rows.
	logits := Dot(head, TransposeAllAxes(x, 1, 0)).General([]int{1}, nil, []int{0}, nil)
	return TransposeAllAxes(logits, 1, 0)
}
