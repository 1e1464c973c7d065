package lora

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"descant/pkg/job"
)

// AllLinear is PEFT's word for every linear layer of the decoder layers.
const AllLinear = "all-linear"

// Config is what adapter_config.json says, as far as it changes numbers.
type Config struct {
	// R is the rank and Alpha the scaling of modules that no pattern names.
	R     int
	Alpha float64
	// Dropout is the probability with which an input of A is dropped in training.
	Dropout float64
	// RSLora scales by alpha/√r instead of alpha/r.
	RSLora bool
	// Targets are names of modules, matched as PEFT does: whole, or after a dot at the end. One entry
	// [AllLinear] stands for all. Empty when TargetPattern is set.
	Targets []string
	// TargetPattern is a regular expression for the whole name of a module.
	TargetPattern string
	// RankPattern and AlphaPattern override R and Alpha for modules by name; the first match wins.
	RankPattern, AlphaPattern []Pattern
	// Layers restricts the adapter to these decoder layers; empty means all. As in PEFT it says nothing to modules that
	// Targets gives by their whole names.
	Layers []int
	// Init is how A begins, see [Plan.Init].
	Init job.InitWeights
	// BaseName is what base_model_name_or_path says.
	BaseName string

	// fields are those of the file that was read, so that they survive writing.
	fields map[string]any
}

// Pattern is one entry of rank_pattern or alpha_pattern.
type Pattern = job.Pattern

// ParseConfig reads adapter_config.json. Features that change numbers and are not supported are refused,
// with the whole list.
func ParseConfig(data []byte) (*Config, error) {
	c := &Config{}
	if err := json.Unmarshal(data, &c.fields); err != nil {
		return nil, fmt.Errorf("adapter_config.json: %w", err)
	}
	var file struct {
		PeftType     string          `json:"peft_type"`
		R            int             `json:"r"`
		Alpha        float64         `json:"lora_alpha"`
		Dropout      float64         `json:"lora_dropout"`
		RSLora       bool            `json:"use_rslora"`
		Targets      json.RawMessage `json:"target_modules"`
		RankPattern  json.RawMessage `json:"rank_pattern"`
		AlphaPattern json.RawMessage `json:"alpha_pattern"`
		Layers       json.RawMessage `json:"layers_to_transform"`
		BaseName     string          `json:"base_model_name_or_path"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("adapter_config.json: %w", err)
	}
	if file.PeftType != "LORA" {
		return nil, fmt.Errorf("adapter_config.json: peft_type %q is not supported: only LORA adapters can be used", file.PeftType)
	}
	c.R, c.Alpha, c.Dropout, c.RSLora, c.BaseName = file.R, file.Alpha, file.Dropout, file.RSLora, file.BaseName
	var problems []string
	note := func(err error) {
		if err != nil {
			problems = append(problems, strings.TrimPrefix(err.Error(), "adapter_config.json: "))
		}
	}
	var err error
	note(c.readTargets(file.Targets))
	c.RankPattern, err = readPatterns("rank_pattern", file.RankPattern)
	note(err)
	c.AlphaPattern, err = readPatterns("alpha_pattern", file.AlphaPattern)
	note(err)
	c.Layers, err = readLayers(file.Layers)
	note(err)
	problems = append(problems, unsupported(c.fields)...)
	note(c.check())
	if len(problems) > 0 {
		return nil, fmt.Errorf("adapter_config.json: this adapter cannot be used: %s", strings.Join(problems, "; "))
	}
	return c, nil
}

func (c *Config) check() error {
	switch {
	case c.R < 1:
		return fmt.Errorf("adapter_config.json: r %d is not above 0", c.R)
	case !(c.Alpha > 0) || math.IsInf(c.Alpha, 0):
		return fmt.Errorf("adapter_config.json: lora_alpha %g is not above 0", c.Alpha)
	case !(c.Dropout >= 0 && c.Dropout < 1):
		return fmt.Errorf("adapter_config.json: lora_dropout %g is not from 0 to below 1", c.Dropout)
	}
	for _, p := range c.RankPattern {
		if p.Value < 1 || p.Value != math.Trunc(p.Value) {
			return fmt.Errorf("adapter_config.json: rank_pattern of %q is %g, not a whole number above 0", p.Key, p.Value)
		}
	}
	return nil
}

func (c *Config) readTargets(raw json.RawMessage) error {
	var one string
	if json.Unmarshal(raw, &one) == nil && one != "" {
		if one == AllLinear {
			c.Targets = []string{AllLinear}
		} else {
			c.TargetPattern = one
		}
		return nil
	}
	if err := json.Unmarshal(raw, &c.Targets); err != nil || len(c.Targets) == 0 {
		return errors.New("adapter_config.json: target_modules is neither a name, a pattern nor a list of names")
	}
	return nil
}

// readPatterns keeps the order of the file, for the first match wins.
func readPatterns(name string, raw json.RawMessage) ([]Pattern, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	if token, err := dec.Token(); err != nil || token != json.Delim('{') {
		return nil, fmt.Errorf("adapter_config.json: %s is not an object", name)
	}
	var list []Pattern
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("adapter_config.json: %s: %w", name, err)
		}
		var value float64
		if err := dec.Decode(&value); err != nil {
			return nil, fmt.Errorf("adapter_config.json: %s of %v: %w", name, key, err)
		}
		list = append(list, Pattern{Key: fmt.Sprint(key), Value: value})
	}
	return list, nil
}

func readLayers(raw json.RawMessage) ([]int, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var one int
	if json.Unmarshal(raw, &one) == nil {
		return []int{one}, nil
	}
	var list []int
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("adapter_config.json: layers_to_transform is neither a number nor a list: %w", err)
	}
	return list, nil
}

// unsupported names the fields that are set to something that changes numbers and is not supported.
func unsupported(fields map[string]any) []string {
	neutral := map[string]any{
		"alora_invocation_tokens": nil, "arrow_config": nil, "bias": "none", "corda_config": nil,
		"eva_config": nil, "exclude_modules": nil, "fan_in_fan_out": false, "kasa_config": nil,
		"layer_replication": nil, "layers_pattern": nil, "lora_bias": false, "lora_ga_config": nil,
		"megatron_config": nil, "modules_to_save": nil, "monteclora_config": nil, "target_parameters": nil,
		"trainable_token_indices": nil, "use_bdlora": nil, "use_dora": false, "use_qalora": false,
		"velora_config": nil,
	}
	var problems []string
	for name, want := range neutral {
		value, ok := fields[name]
		if !ok || value == nil || value == want {
			continue
		}
		if list, isList := value.([]any); isList && len(list) == 0 {
			continue
		}
		if value == false && want == nil {
			continue
		}
		problems = append(problems, fmt.Sprintf("%s is %v (supported: %v)", name, value, want))
	}
	sort.Strings(problems)
	return problems
}

// Text is adapter_config.json as PEFT writes it: two spaces of indentation, sorted keys, no newline at the end.
func (c *Config) Text() string {
	fields := defaults()
	for name, value := range c.fields {
		fields[name] = value
	}
	fields["r"] = c.R
	fields["lora_alpha"] = number(c.Alpha)
	fields["lora_dropout"] = float(c.Dropout)
	fields["use_rslora"] = c.RSLora
	fields["rank_pattern"] = patterns(c.RankPattern)
	fields["alpha_pattern"] = patterns(c.AlphaPattern)
	fields["base_model_name_or_path"] = any(nil)
	if c.BaseName != "" {
		fields["base_model_name_or_path"] = c.BaseName
	}
	if c.TargetPattern != "" {
		fields["target_modules"] = c.TargetPattern
	} else {
		fields["target_modules"] = written(c.Targets)
	}
	if c.fields == nil && len(c.Layers) > 0 {
		fields["layers_to_transform"] = numbers(c.Layers)
	}
	if c.fields == nil && c.Init == job.InitGaussian {
		fields["init_lora_weights"] = string(c.Init)
	}
	var b strings.Builder
	writeObject(&b, fields, "")
	return b.String()
}

// written spells out [AllLinear]: PEFT resolves the word when an adapter is made and does not know it in a file.
func written(targets []string) []string {
	if len(targets) == 1 && targets[0] == AllLinear {
		return []string{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
	}
	return targets
}

// defaults are the fields of PEFT 0.21 for an adapter that uses none of its extensions.
func defaults() map[string]any {
	fields := map[string]any{
		"ensure_weight_tying": false, "fan_in_fan_out": false, "inference_mode": true,
		"init_lora_weights": true, "lora_bias": false, "use_dora": false, "use_qalora": false,
		"bias": "none", "loftq_config": map[string]any{}, "megatron_core": "megatron.core", "peft_type": "LORA",
		"peft_version": "0.21.2", "qalora_group_size": 16, "task_type": "CAUSAL_LM",
	}
	for _, name := range []string{
		"alora_invocation_tokens", "arrow_config", "auto_mapping", "corda_config", "eva_config", "exclude_modules",
		"kasa_config", "layer_replication", "layers_pattern", "layers_to_transform", "lora_ga_config",
		"megatron_config", "modules_to_save", "monteclora_config", "revision", "target_parameters",
		"trainable_token_indices", "use_bdlora", "velora_config",
	} {
		fields[name] = nil
	}
	return fields
}

func numbers(list []int) []any {
	out := make([]any, len(list))
	for i, n := range list {
		out[i] = json.Number(strconv.Itoa(n))
	}
	return out
}

func patterns(list []Pattern) map[string]any {
	out := map[string]any{}
	for _, p := range list {
		out[p.Key] = number(p.Value)
	}
	return out
}

// number prints as Python does for the type that PEFT's users give: whole numbers as integers.
func number(v float64) json.Number {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return json.Number(strconv.FormatInt(int64(v), 10))
	}
	return json.Number(strconv.FormatFloat(v, 'g', -1, 64))
}

// float prints as Python's repr of a float.
func float(v float64) json.Number {
	text := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return json.Number(text)
}

// writeObject prints like Python's json.dumps(indent=2, sort_keys=True).
func writeObject(b *strings.Builder, fields map[string]any, indent string) {
	if len(fields) == 0 {
		b.WriteString("{}")
		return
	}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	b.WriteString("{\n")
	for i, name := range names {
		b.WriteString(indent + "  " + quote(name) + ": ")
		writeValue(b, fields[name], indent+"  ")
		if i < len(names)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString(indent + "}")
}

func writeValue(b *strings.Builder, value any, indent string) {
	switch v := value.(type) {
	case nil:
		b.WriteString("null")
	case map[string]any:
		writeObject(b, v, indent)
	case []string:
		list := make([]any, len(v))
		for i, s := range v {
			list[i] = s
		}
		writeValue(b, list, indent)
	case []any:
		if len(v) == 0 {
			b.WriteString("[]")
			return
		}
		b.WriteString("[\n")
		for i, item := range v {
			b.WriteString(indent + "  ")
			writeValue(b, item, indent+"  ")
			if i < len(v)-1 {
				b.WriteByte(',')
			}
			b.WriteByte('\n')
		}
		b.WriteString(indent + "]")
	case string:
		b.WriteString(quote(v))
	case float64:
		b.WriteString(string(number(v)))
	default:
		fmt.Fprint(b, v)
	}
}

// quote prints a string as Python's json.dumps does: ASCII only.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r > 0x7e && r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
