package train

import (
	"fmt"
	"strings"

	"descant/pkg/lora"
	"descant/pkg/model"

	. "github.com/gomlx/gomlx/core/graph"
)

// target is what is trained. A layer's trained parameters are one flat array.
type target interface {
	// signature names the computation of a layer; layers with equal ones share programs.
	signature(layer int) string
	// window is the layer's sliding window, 0 for none.
	window(layer int) int
	// frozen are the layer's weights that are not trained.
	frozen(layer int) []*model.Array
	// size is the number of trained parameters of a layer, maybe 0.
	size(layer int) int
	// block builds the layer from its frozen weights, its flat trained array (nil where size is 0) and the
	// dropout key (nil without dropout), and gives the pieces of the flat array in order.
	block(layer int, frozen []*Node, flat, key *Node) (*model.Block, []piece)
	// adapter says of a module's linear map which adapter of the layer is on it: the frozen map's gradient and the
	// adapter's are then taken by hand. It is nil in full training.
	adapter(layer int, flat, key *Node) func(module string, x, dy *Node) (a adapterGradient, found bool)
	// dropout says whether block wants a key.
	dropout() bool
}

// piece is a part of a layer's flat array within a graph.
type piece struct {
	// module is what the piece belongs to, within the layer.
	module string
	node   *Node
}

// adapterGradient is the gradient of an adapter on one linear map: of its input, of A and of B, and where the pieces of A
// and B are.
type adapterGradient struct {
	dx, dA, dB *Node
	at         int
}

// loraTarget trains the matrices of an adapter.
type loraTarget struct {
	model *model.Model
	plan  *lora.Plan
}

func (t *loraTarget) signature(layer int) string {
	return fmt.Sprintf("%s window %d", t.plan.Signature(layer), t.window(layer))
}
func (t *loraTarget) window(layer int) int            { return t.model.Config.Window(layer) }
func (t *loraTarget) frozen(layer int) []*model.Array { return t.model.Layers[layer] }
func (t *loraTarget) size(layer int) int              { return t.plan.Size(layer) }
func (t *loraTarget) dropout() bool                   { return t.plan.Config.Dropout > 0 }

func (t *loraTarget) block(layer int, frozen []*Node, flat, key *Node) (*model.Block, []piece) {
	weights, _ := t.model.Config.Bind(frozen)
	if flat == nil {
		return model.NewBlock(t.model.Config, weights, nil), nil
	}
	parts := t.plan.Split(layer, flat)
	var pieces []piece
	for i, m := range t.plan.Layers[layer] {
		pieces = append(pieces, piece{m.Local, parts[2*i]}, piece{m.Local, parts[2*i+1]})
	}
	return model.NewBlock(t.model.Config, weights, t.plan.LinearOf(layer, parts, key)), pieces
}

func (t *loraTarget) adapter(layer int, flat, key *Node) func(string, *Node, *Node) (adapterGradient, bool) {
	var parts []*Node
	if flat != nil {
		parts = t.plan.Split(layer, flat)
	}
	return func(module string, x, dy *Node) (g adapterGradient, found bool) {
		for i, m := range t.plan.Layers[layer] {
			if m.Local == module {
				g.at = 2 * i
				g.dx, g.dA, g.dB = t.plan.Pull(layer, i, parts, key, x, dy)
				return g, true
			}
		}
		return g, false
	}
}

// fullTarget trains all weights of a layer.
type fullTarget struct {
	config *model.Config
}

func (t *fullTarget) signature(layer int) string {
	return fmt.Sprintf("full window %d", t.window(layer))
}
func (t *fullTarget) window(layer int) int      { return t.config.Window(layer) }
func (t *fullTarget) frozen(int) []*model.Array { return nil }
func (t *fullTarget) dropout() bool             { return false }
func (t *fullTarget) adapter(int, *Node, *Node) func(string, *Node, *Node) (adapterGradient, bool) {
	return nil
}
func (t *fullTarget) size(int) int {
	n := int64(0)
	for _, tensor := range t.config.LayerTensors() {
		n += tensor.Size()
	}
	return int(n)
}

func (t *fullTarget) block(_ int, _ []*Node, flat, _ *Node) (*model.Block, []piece) {
	weights := map[string]*Node{}
	var pieces []piece
	offset := 0
	for _, tensor := range t.config.LayerTensors() {
		end := offset + int(tensor.Size())
		node := Reshape(Slice(flat, AxisRange(offset, end)), tensor.Memory()...)
		offset = end
		weights[tensor.Name] = node
		module := strings.TrimSuffix(strings.TrimSuffix(tensor.Name, ".weight"), ".bias")
		pieces = append(pieces, piece{module, node})
	}
	return model.NewBlock(t.config, weights, nil), pieces
}

// decays says whether weight decay applies to a tensor in full training: not to biases and norms.
func decays(name string) bool {
	return strings.HasSuffix(name, ".weight") && !strings.Contains(name, "norm")
}
