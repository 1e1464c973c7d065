package job

import (
	"encoding/json"
	"errors"
	"strings"
)

// AllLinear is PEFT's word for every linear layer except the head.
const AllLinear = "all-linear"

// linearModules are the linear layers of a decoder block.
var linearModules = []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

// TargetModules names the layers that get an adapter: either the one word "all-linear" or a list of
// names. In JSON and YAML it is a string or a list, in a flag it is separated by commas.
type TargetModules []string

// Modules returns the names of the layers with "all-linear" written out.
func (m TargetModules) Modules() []string {
	if len(m) == 1 && m[0] == AllLinear {
		return append([]string(nil), linearModules...)
	}
	return append([]string(nil), m...)
}

// String returns the names separated by commas.
func (m TargetModules) String() string { return strings.Join(m, ",") }

// Set reads names separated by commas; with String and Type it makes a flag value.
func (m *TargetModules) Set(text string) error { return m.UnmarshalText([]byte(text)) }

// Type names the kind of value in a flag's help.
func (m TargetModules) Type() string { return "names" }

// MarshalText writes the names separated by commas.
func (m TargetModules) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads names separated by commas.
func (m *TargetModules) UnmarshalText(text []byte) error {
	*m = nil
	for name := range strings.SplitSeq(string(text), ",") {
		if name = strings.TrimSpace(name); name != "" {
			*m = append(*m, name)
		}
	}
	return nil
}

// MarshalJSON writes "all-linear" as a string and anything else as a list, as PEFT does.
func (m TargetModules) MarshalJSON() ([]byte, error) {
	if len(m) == 1 && m[0] == AllLinear {
		return json.Marshal(AllLinear)
	}
	return json.Marshal([]string(m))
}

// UnmarshalJSON reads a string or a list of strings.
func (m *TargetModules) UnmarshalJSON(data []byte) error {
	var list []string
	if json.Unmarshal(data, &list) == nil && list != nil {
		*m = list
		return nil
	}
	var text string
	if string(data) == "null" || json.Unmarshal(data, &text) != nil {
		return errors.New(`must be "all-linear" or a list of names`)
	}
	return m.UnmarshalText([]byte(text))
}

// MarshalYAML writes the value in the same form as JSON.
func (m TargetModules) MarshalYAML() (any, error) {
	if len(m) == 1 && m[0] == AllLinear {
		return AllLinear, nil
	}
	return []string(m), nil
}

// UnmarshalYAML reads a string or a list of strings.
func (m *TargetModules) UnmarshalYAML(decode func(any) error) error {
	var list []string
	if err := decode(&list); err == nil && list != nil {
		*m = list
		return nil
	}
	var text string
	if err := decode(&text); err != nil {
		return errors.New(`must be "all-linear" or a list of names`)
	}
	return m.UnmarshalText([]byte(text))
}
