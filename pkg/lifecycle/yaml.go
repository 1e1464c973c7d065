package lifecycle

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// setting is one value of a YAML file with its place.
type setting struct {
	key  string
	text string
	line int
}

// settings flattens a YAML file: nested mappings become dotted keys, lists
// become texts separated by commas.
func settings(name string, data []byte) ([]setting, error) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var all []setting
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if err := flatten(&all, doc.Body, nil); err != nil {
			return nil, fmt.Errorf("%s:%w", name, err)
		}
	}
	return all, nil
}

func flatten(all *[]setting, node ast.Node, path []string) error {
	line := node.GetToken().Position.Line
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, value := range n.Values {
			if err := flatten(all, value, path); err != nil {
				return err
			}
		}
	case *ast.MappingValueNode:
		key := n.Key.GetToken().Value
		return flatten(all, n.Value, append(append([]string(nil), path...), key))
	case *ast.SequenceNode:
		parts := make([]string, 0, len(n.Values))
		for _, value := range n.Values {
			if _, ok := value.(ast.ScalarNode); !ok {
				return fmt.Errorf("%d: %s: a list holds only plain values", line, strings.Join(path, "."))
			}
			parts = append(parts, scalar(value))
		}
		*all = append(*all, setting{strings.Join(path, "."), strings.Join(parts, ","), line})
	case *ast.NullNode:
		// "bus:" with nothing below says nothing.
	default:
		if _, ok := node.(ast.ScalarNode); !ok || len(path) == 0 {
			return fmt.Errorf("%d: expected keys and values, found %q", line, node.String())
		}
		*all = append(*all, setting{strings.Join(path, "."), scalar(node), line})
	}
	return nil
}

// scalar returns the text of a value as it was written, without quotes.
func scalar(node ast.Node) string {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	}
	return node.GetToken().Value
}
