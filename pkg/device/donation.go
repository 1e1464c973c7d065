package device

import (
	"reflect"
	"unsafe"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/stablehlo"
)

// Donating returns a backend that shares everything with b, for programs that write some outputs over inputs: outputs tells, by the name of
// an input, which. XLA copies an input that is donated when the program runs, as long as the program itself does not say this of it. To
// other backends it is enough that the input is donated.
func Donating(b compute.Backend, outputs map[string]int) compute.Backend {
	e, isExtended := b.(extended)
	if !isExtended {
		e.Backend = b
	}
	e.outputs = outputs
	return e
}

// Parameter is that of the function, and says which output is written over it.
func (f extendedFunction) Parameter(name string, shape shapes.Shape, sharding *compute.ShardingSpec) (compute.Value, error) {
	value, err := f.Function.Parameter(name, shape, sharding)
	output, donated := f.outputs[name]
	if node, isXLA := value.(*xla.Node); err == nil && donated && isXLA {
		attributes := &stableValue(node).Attributes
		if *attributes == nil {
			*attributes = map[string]any{}
		}
		(*attributes)["tf.aliasing_output"] = int32(output) // what XLA takes from JAX's programs
	}
	return value, err
}

// stableValue is what a node is in the StableHLO that go-xla writes. It has no exported way to give a parameter attributes.
func stableValue(node *xla.Node) *stablehlo.Value {
	field := reflect.ValueOf(node).Elem().FieldByName("value")
	return *(**stablehlo.Value)(unsafe.Pointer(field.UnsafeAddr()))
}
