package train

import (
	"fmt"
	"strings"

	"descant/pkg/lora"
	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes"
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
	// adapters are those of the layer, with which the gradients of its linear maps are taken by hand; nil in full training.
	adapters(layer int, flat, key *Node) *lora.Adapters
	// dropout says whether block wants a key.
	dropout() bool
	// dtype is what the products of the layers round to what they are given: f32 or bf16.
	dtype() dtypes.DType
}

// piece is a part of a layer's flat array within a graph.
type piece struct {
	// module is what the piece belongs to, within the layer.
	module string
	node   *Node
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

func (t *loraTarget) dtype() dtypes.DType { return model.Arithmetic(t.model.DType()) }

func (t *loraTarget) block(layer int, frozen []*Node, flat, key *Node) (*model.Block, []piece) {
	weights, _ := t.model.Config.Bind(frozen)
	adapters := t.plan.Adapters(layer, flat, key)
	var pieces []piece
	for i, part := range adapters.Parts {
		pieces = append(pieces, piece{t.plan.Layers[layer][i/2].Local, part})
	}
	return model.NewBlock(t.model.Config, weights, adapters.Linear), pieces
}

func (t *loraTarget) adapters(layer int, flat, key *Node) *lora.Adapters {
	return t.plan.Adapters(layer, flat, key)
}

// fullTarget trains all weights of a layer.
type fullTarget struct {
	config *model.Config
}

func (t *fullTarget) signature(layer int) string {
	return fmt.Sprintf("full window %d", t.window(layer))
}
func (t *fullTarget) window(layer int) int                      { return t.config.Window(layer) }
func (t *fullTarget) frozen(int) []*model.Array                 { return nil }
func (t *fullTarget) dropout() bool                             { return false }
func (t *fullTarget) dtype() dtypes.DType                       { return dtypes.Float32 }
func (t *fullTarget) adapters(int, *Node, *Node) *lora.Adapters { return nil }

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
