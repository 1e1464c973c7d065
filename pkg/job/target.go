package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// AllLinear is PEFT's word for every linear layer except the head.
const AllLinear = "all-linear"

// linearModules are the linear layers of a decoder block.
var linearModules = []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

// TargetModules names the layers that get an adapter: the one word "all-linear", a list of names, or one regular
// expression for whole module names ([TargetModules.Pattern]). In JSON and YAML it is a string or a list, in a flag it
// is separated by commas. A string of plain names is a list, too; PEFT would read it as an expression that matches
// nothing.
type TargetModules []string

// plainName is the name of a module or the end of one. Anything else in a string is a regular expression.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// Pattern returns the regular expression, if it is one.
func (m TargetModules) Pattern() (string, bool) {
	if len(m) == 1 && !plainName.MatchString(m[0]) {
		return m[0], true
	}
	return "", false
}

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

// UnmarshalText reads names separated by commas, or a regular expression.
func (m *TargetModules) UnmarshalText(text []byte) error {
	*m = nil
	for name := range strings.SplitSeq(string(text), ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if !plainName.MatchString(name) {
			*m = TargetModules{strings.TrimSpace(string(text))}
			return nil
		}
		*m = append(*m, name)
	}
	return nil
}

// MarshalJSON writes "all-linear" and a regular expression as a string and anything else as a list, as PEFT does.
func (m TargetModules) MarshalJSON() ([]byte, error) {
	if _, isPattern := m.Pattern(); isPattern || len(m) == 1 && m[0] == AllLinear {
		return json.Marshal(m[0])
	}
	return json.Marshal([]string(m))
}

// UnmarshalJSON reads a string or a list of strings.
func (m *TargetModules) UnmarshalJSON(data []byte) error {
	var list []string
	if json.Unmarshal(data, &list) == nil && list != nil {
		return m.set(list)
	}
	var text string
	if string(data) == "null" || json.Unmarshal(data, &text) != nil {
		return errors.New(`must be "all-linear" or a list of names, or a regular expression`)
	}
	return m.UnmarshalText([]byte(text))
}

// MarshalYAML writes the value in the same form as JSON.
func (m TargetModules) MarshalYAML() (any, error) {
	if _, isPattern := m.Pattern(); isPattern || len(m) == 1 && m[0] == AllLinear {
		return m[0], nil
	}
	return []string(m), nil
}

// UnmarshalYAML reads a string or a list of strings.
func (m *TargetModules) UnmarshalYAML(decode func(any) error) error {
	var list []string
	if err := decode(&list); err == nil && list != nil {
		return m.set(list)
	}
	var text string
	if err := decode(&text); err != nil {
		return errors.New(`must be "all-linear" or a list of names, or a regular expression`)
	}
	return m.UnmarshalText([]byte(text))
}

// set takes a list of names. An expression in a list would match nothing in PEFT.
func (m *TargetModules) set(list []string) error {
	for _, name := range list {
		if !plainName.MatchString(name) {
			return fmt.Errorf("holds %q: a list holds names; give a regular expression as a string", shorten(name))
		}
	}
	*m = list
	return nil
}

func (c *checker) targets(modules TargetModules) {
	if pattern, ok := modules.Pattern(); ok {
		re, err := PythonRegexp(pattern)
		switch {
		case err != nil:
			c.add("target_modules", strconv.Quote(shorten(pattern)), err.Error(), "write it so that Go's regexp and Python's re agree on it; docs/lora.md tells how they differ")
		case re.MatchString("lm_head") || re.MatchString("model.embed_tokens"):
			c.add("target_modules", strconv.Quote(shorten(pattern)), "matches the head or the embedding, whose adapter cannot be served by llama.cpp or vLLM", `let it match linear layers only, for example ".*\\.(q|v)_proj"`)
		}
		return
	}
	if len(modules) == 0 {
		c.add("target_modules", "", "is empty", `use "all-linear" or a list such as ["q_proj","v_proj"]`)
	}
	for _, name := range modules {
		last := name[strings.LastIndex(name, ".")+1:]
		switch {
		case name == AllLinear && len(modules) == 1, slices.Contains(linearModules, last):
		case name == AllLinear:
			c.add("target_modules", strconv.Quote(name), "stands beside other names", `use "all-linear" alone`)
		case last == "lm_head" || last == "embed_tokens":
			c.add("target_modules", strconv.Quote(name), "an adapter on the head or the embedding cannot be served by llama.cpp or vLLM", "use "+orList(linearModules))
		default:
			c.add("target_modules", strconv.Quote(shorten(name)), "is not a linear layer", `use "all-linear" or a list of `+orList(linearModules))
		}
	}
}
