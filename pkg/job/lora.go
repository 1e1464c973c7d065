package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// InitWeights says how the A matrices of a new adapter begin, as PEFT's init_lora_weights: true or "gaussian".
type InitWeights string

// The ways in which an adapter may begin. B is zero in both.
const (
	// InitDefault is true in JSON: A uniform within ±1/√in (Kaiming with a = √5).
	InitDefault InitWeights = "true"
	// InitGaussian is A normal with standard deviation 1/r.
	InitGaussian InitWeights = "gaussian"
)

// MarshalJSON writes true and false as such, as PEFT does.
func (w InitWeights) MarshalJSON() ([]byte, error) {
	switch w {
	case "", InitDefault:
		return []byte("true"), nil
	case "false":
		return []byte("false"), nil
	}
	return json.Marshal(string(w))
}

// UnmarshalJSON reads true, false or a word; Validate says which of them can be used.
func (w *InitWeights) UnmarshalJSON(data []byte) error {
	var word string
	if string(data) == "true" || string(data) == "false" {
		*w = InitWeights(data)
		return nil
	}
	if err := json.Unmarshal(data, &word); err != nil {
		return errors.New(`must be true or "gaussian"`)
	}
	*w = InitWeights(word)
	return nil
}

// LayerList names decoder layers, counted from 0. In JSON it is a number or a list of numbers, in a flag they are
// separated by commas.
type LayerList []int

// MarshalText writes the numbers separated by commas.
func (l LayerList) MarshalText() ([]byte, error) {
	words := make([]string, len(l))
	for i, n := range l {
		words[i] = strconv.Itoa(n)
	}
	return []byte(strings.Join(words, ",")), nil
}

// UnmarshalText reads numbers separated by commas.
func (l *LayerList) UnmarshalText(text []byte) error {
	*l = nil
	for word := range strings.SplitSeq(string(text), ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		n, err := strconv.Atoi(word)
		if err != nil {
			return fmt.Errorf("%q is not the number of a layer", word)
		}
		*l = append(*l, n)
	}
	return nil
}

// MarshalJSON writes a list, also where there is none.
func (l LayerList) MarshalJSON() ([]byte, error) { return json.Marshal(append([]int{}, l...)) }

// UnmarshalJSON reads a number or a list of numbers.
func (l *LayerList) UnmarshalJSON(data []byte) error {
	var one int
	if json.Unmarshal(data, &one) == nil {
		*l = LayerList{one}
		return nil
	}
	var list []int
	if err := json.Unmarshal(data, &list); err != nil {
		return errors.New("must be the number of a layer or a list of numbers")
	}
	*l = list
	return nil
}

// Pattern gives the modules that a key names a value of their own.
type Pattern struct {
	// Key is a regular expression for the end of a module's name after a dot, or for all of it.
	Key   string
	Value float64
}

// Patterns is PEFT's rank_pattern or alpha_pattern. The first key that matches a module wins; the keys are sorted, as
// PEFT sorts them when it writes an adapter, so that training and loading agree. In JSON it is an object, in a flag
// `key=value,key=value` or the same object.
type Patterns []Pattern

// String writes the patterns as a flag has them.
func (p Patterns) String() string {
	words := make([]string, len(p))
	for i, one := range p {
		words[i] = one.Key + "=" + formatFloat(one.Value)
	}
	return strings.Join(words, ",")
}

// MarshalText writes the JSON object, as a key may hold a comma.
func (p Patterns) MarshalText() ([]byte, error) {
	if len(p) == 0 {
		return nil, nil
	}
	return p.MarshalJSON()
}

// UnmarshalText reads key=value, separated by commas, or a JSON object.
func (p *Patterns) UnmarshalText(text []byte) error {
	trimmed := strings.TrimSpace(string(text))
	if strings.HasPrefix(trimmed, "{") {
		return p.UnmarshalJSON([]byte(trimmed))
	}
	*p = nil
	for word := range strings.SplitSeq(trimmed, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		at := strings.LastIndex(word, "=")
		value, err := strconv.ParseFloat(strings.TrimSpace(word[at+1:]), 64)
		if at < 1 || err != nil {
			return fmt.Errorf(`%q is not key=value, for example down_proj=4; a key with a comma needs the form {"key": value}`, word)
		}
		if err := p.add(strings.TrimSpace(word[:at]), value); err != nil {
			return err
		}
	}
	return nil
}

// add inserts a pattern at its place.
func (p *Patterns) add(key string, value float64) error {
	at, found := slices.BinarySearchFunc(*p, key, func(one Pattern, key string) int { return strings.Compare(one.Key, key) })
	if found {
		return fmt.Errorf("key %q is given twice", key)
	}
	*p = slices.Insert(*p, at, Pattern{Key: key, Value: value})
	return nil
}

// MarshalJSON writes an object, also where there is none.
func (p Patterns) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, one := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(one.Key)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteString(":" + formatFloat(one.Value))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON reads an object of numbers.
func (p *Patterns) UnmarshalJSON(data []byte) error {
	members, err := splitObject(data)
	if err != nil {
		return errors.New(`must be an object of numbers, for example {"down_proj": 4}`)
	}
	*p = nil
	for _, m := range members {
		var value float64
		if err := json.Unmarshal(m.value, &value); err != nil || string(m.value) == "null" {
			return fmt.Errorf("the value of %q must be a number", m.name)
		}
		if err := p.add(m.name, value); err != nil {
			return err
		}
	}
	return nil
}

// Regexp matches the names of modules that the pattern stands for: PEFT's re.match(r"(.*\.)?(KEY)$", name).
func (p Pattern) Regexp() (*regexp.Regexp, error) {
	if _, err := PythonRegexp(p.Key); err != nil {
		return nil, err
	}
	return regexp.Compile(`^(?:.*\.)?(?:` + p.Key + `)$`)
}

// lora checks the options of the adapter.
func (c *checker) lora(t Training) {
	c.intRange("r", t.R, 1, maxRank)
	c.floatRange("lora_alpha", t.LoraAlpha, smallest, 1e6, "above 0 and at most 1000000")
	c.targets(t.TargetModules)
	c.floatRange("lora_dropout", t.LoraDropout, 0, 0.95, "between 0 and 0.95")
	c.patterns("rank_pattern", t.RankPattern)
	for _, p := range t.RankPattern {
		if p.Value != float64(int(p.Value)) || p.Value < 1 || p.Value > maxRank {
			c.add("rank_pattern", fmt.Sprintf("%s=%g", p.Key, p.Value), "is not a rank", fmt.Sprintf("use a whole number from 1 to %d", maxRank))
		}
	}
	c.patterns("alpha_pattern", t.AlphaPattern)
	for _, p := range t.AlphaPattern {
		c.floatRange("alpha_pattern", p.Value, smallest, 1e6, "above 0 and at most 1000000")
	}
	c.layers(t)
	c.initial(t)
	if t.Method == MethodFull {
		c.onlyLora(t)
	}
}

func (c *checker) patterns(field string, list Patterns) {
	for _, p := range list {
		if _, err := p.Regexp(); err != nil {
			c.add(field, strconv.Quote(shorten(p.Key)), err.Error(), "write the key so that Go's regexp and Python's re agree on it; docs/lora.md tells how they differ")
		}
	}
}

func (c *checker) layers(t Training) {
	for _, n := range t.LayersToTransform {
		if n < 0 {
			c.add("layers_to_transform", strconv.Itoa(n), "is not the number of a layer", "count layers from 0")
		}
	}
	if _, isPattern := t.TargetModules.Pattern(); isPattern && len(t.LayersToTransform) > 0 {
		c.add("layers_to_transform", "", "cannot stand beside a regular expression in target_modules (PEFT refuses it, too)", "name the layers in the expression")
	}
}

// initial checks where the numbers of an adapter come from.
func (c *checker) initial(t Training) {
	switch t.InitLoraWeights {
	case "", InitDefault, InitGaussian:
	case "false":
		c.add("init_lora_weights", "false", "makes a random B, with which the adapter changes the base before it has learned anything", `use true or "gaussian"`)
	default:
		c.add("init_lora_weights", strconv.Quote(shorten(string(t.InitLoraWeights))), "is not a known value", `use true or "gaussian"; those that change the base's weights (pissa, olora, loftq, eva, …) are not supported`)
	}
	if t.InitFrom == "" {
		return
	}
	if name, _, _ := strings.Cut(t.InitFrom, "@"); !ValidName(name) {
		c.add("init_from", strconv.Quote(shorten(t.InitFrom)), "is not an adapter", "use name, name@3, name@alias or name@sha256:<hex> of a published adapter")
	}
	if t.InitLoraWeights == InitGaussian {
		c.add("init_lora_weights", `"gaussian"`, "has no effect beside init_from, which gives every number", "set only one of the two")
	}
}

// onlyLora refuses options of the adapter where there is none.
func (c *checker) onlyLora(t Training) {
	for _, option := range []struct {
		field string
		set   bool
	}{
		{"rank_pattern", len(t.RankPattern) > 0}, {"alpha_pattern", len(t.AlphaPattern) > 0},
		{"layers_to_transform", len(t.LayersToTransform) > 0}, {"init_lora_weights", t.InitLoraWeights == InitGaussian},
		{"init_from", t.InitFrom != ""},
	} {
		if option.set {
			c.add(option.field, "", "has no effect with method full, which trains every weight and no adapter", "remove it, or use method lora")
		}
	}
}

// refusedOptions are options of PEFT that are known and not supported, with the reason.
var refusedOptions = map[string]string{
	"modules_to_save":         "trains whole copies of modules beside the adapter, which vLLM and llama.cpp refuse to serve",
	"exclude_modules":         "is not supported: name the modules that you want in target_modules (a list or a regular expression)",
	"layers_pattern":          "is not needed: the layers of every supported base are found",
	"use_dora":                "changes the arithmetic of every layer and cannot be served together with other adapters",
	"bias":                    "trains biases of the base, which are no part of an adapter",
	"lora_bias":               "adds biases to the adapter, which most servers ignore",
	"fan_in_fan_out":          "is for Conv1D layers, which no supported base has",
	"loftq_config":            "is for quantized bases, which are not supported",
	"target_parameters":       "is for mixture-of-experts bases, which are not supported",
	"trainable_token_indices": "trains rows of the embedding, which vLLM and llama.cpp refuse to serve",
	"task_type":               "is always CAUSAL_LM",
}
