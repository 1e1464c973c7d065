package model

import (
	"encoding/json"
	"fmt"
	"strings"
)

// reader reads the fields of a config.json and collects what is wrong with them.
type reader struct {
	fields   map[string]any
	problems []string
}

func newReader(data []byte) (*reader, error) {
	r := &reader{}
	if err := json.Unmarshal(data, &r.fields); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	return r, nil
}

func (r *reader) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// err joins all problems, nil where there is none.
func (r *reader) err() error {
	if len(r.problems) == 0 {
		return nil
	}
	return fmt.Errorf("this model cannot be used: %s", strings.Join(r.problems, "; "))
}

// field gets a value typed T; absent and null give the default.
func field[T any](r *reader, name, kind string, fallback T) T {
	value, ok := r.fields[name]
	if !ok || value == nil {
		return fallback
	}
	typed, ok := value.(T)
	if !ok {
		r.problem("%s is not %s", name, kind)
		return fallback
	}
	return typed
}

func (r *reader) text(name, fallback string) string { return field(r, name, "a string", fallback) }

// boolean is false where the field is missing.
func (r *reader) boolean(name string) bool {
	return field(r, name, "true or false", false)
}

func (r *reader) number(name string, fallback float64) float64 {
	return field(r, name, "a number", fallback)
}

func (r *reader) integer(name string, fallback int) int {
	value := r.number(name, float64(fallback))
	if value != float64(int(value)) || value < 0 || value > 1<<31 {
		r.problem("%s %g is not a whole number in range", name, value)
		return fallback
	}
	return int(value)
}

func (r *reader) positive(name string) int {
	value := r.integer(name, 0)
	if value < 1 {
		r.problem("%s is missing or not above 0", name)
		return 1
	}
	return value
}

// has says whether a field is there, be it null.
func (r *reader) has(name string) bool {
	_, ok := r.fields[name]
	return ok
}

// refuseCommon refuses settings of any family that change the numbers and are not supported.
func (r *reader) refuseCommon() {
	if act := r.text("hidden_act", "silu"); act != "silu" {
		r.problem("hidden_act %q is not supported (supported: silu)", act)
	}
	if p := r.number("attention_dropout", 0); p != 0 {
		r.problem("attention_dropout %g is not supported (supported: 0)", p)
	}
	if _, ok := r.fields["quantization_config"]; ok && r.fields["quantization_config"] != nil {
		r.problem("quantized weights are not supported; use the unquantized base (float32, bfloat16 or float16)")
	}
}
