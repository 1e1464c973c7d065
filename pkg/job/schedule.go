package job

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Learning rate schedules, under the names of transformers' SchedulerType.
const (
	SchedulerLinear             = "linear"
	SchedulerCosine             = "cosine"
	SchedulerCosineMinLR        = "cosine_with_min_lr"
	SchedulerConstant           = "constant"
	SchedulerConstantWithWarmup = "constant_with_warmup"
	SchedulerWSD                = "warmup_stable_decay"
)

// Shapes of the rise and fall of warmup_stable_decay.
const (
	ShapeLinear = "linear"
	ShapeCosine = "cosine"
	Shape1Sqrt  = "1-sqrt"
)

// SchedulerKwargs are the further settings of a schedule, under the names of transformers' lr_scheduler_kwargs; nil
// and "" mean the default. In JSON and YAML they are an object, in a flag `min_lr_rate=0.1,num_cycles=0.5` or the same
// object.
type SchedulerKwargs struct {
	// NumCycles is the number of waves of a cosine. Defaults to 0.5, from the peak down once.
	NumCycles *float64 `json:"num_cycles,omitempty"`
	// MinLR is the learning rate at the end of cosine_with_min_lr, MinLRRate the same as a share of the peak.
	MinLR     *float64 `json:"min_lr,omitempty"`
	MinLRRate *float64 `json:"min_lr_rate,omitempty"`
	// NumDecaySteps is the length of the fall of warmup_stable_decay, NumStableSteps that of the time at the peak.
	// NumStableSteps defaults to all steps that warmup and fall leave.
	NumDecaySteps  *int `json:"num_decay_steps,omitempty"`
	NumStableSteps *int `json:"num_stable_steps,omitempty"`
	// WarmupType and DecayType are the shapes of rise and fall: linear, cosine or 1-sqrt. They default to linear and
	// cosine.
	WarmupType string `json:"warmup_type,omitempty"`
	DecayType  string `json:"decay_type,omitempty"`
	// MinLRRatio is the learning rate before and after warmup_stable_decay as a share of the peak. Defaults to 0.
	MinLRRatio *float64 `json:"min_lr_ratio,omitempty"`
}

// Schedulers are the schedules of the learning rate.
func Schedulers() []string {
	return []string{SchedulerLinear, SchedulerCosine, SchedulerCosineMinLR, SchedulerConstant, SchedulerConstantWithWarmup, SchedulerWSD}
}

// schedulerKwargs are the settings that each schedule knows.
var schedulerKwargs = map[string][]string{
	SchedulerLinear:             nil,
	SchedulerCosine:             {"num_cycles"},
	SchedulerCosineMinLR:        {"min_lr", "min_lr_rate", "num_cycles"},
	SchedulerConstant:           nil,
	SchedulerConstantWithWarmup: nil,
	SchedulerWSD:                {"num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"},
}

// schedule checks the learning rate's schedule and all that belongs to it.
func (c *checker) schedule(t Training) {
	c.oneOf("lr_scheduler_type", t.LRSchedulerType, Schedulers()...)
	c.floatRange("warmup_ratio", t.WarmupRatio, 0, 1, "between 0 and 1")
	c.intRange("warmup_steps", t.WarmupSteps, 0, maxSteps)
	known, ok := schedulerKwargs[t.LRSchedulerType]
	if !ok {
		return
	}
	if t.LRSchedulerType == SchedulerConstant && (t.WarmupRatio > 0 || t.WarmupSteps > 0) {
		c.add("lr_scheduler_type", strconv.Quote(t.LRSchedulerType), "has no warmup, and a warmup is set",
			"use constant_with_warmup, or set warmup_ratio and warmup_steps to 0")
	}
	t.LRSchedulerKwargs.each(func(name string, _ any) {
		if slices.Contains(known, name) {
			return
		}
		next := "remove it"
		if len(known) > 0 {
			next += "; its settings are " + strings.Join(known, ", ")
		}
		c.add("lr_scheduler_kwargs", name, "is not a setting of "+t.LRSchedulerType, next)
	})
	c.kwargs(t)
}

// kwargs checks the values of the settings and what a schedule cannot do without.
func (c *checker) kwargs(t Training) {
	const field = "lr_scheduler_kwargs"
	k := t.LRSchedulerKwargs
	number := func(name string, value *float64, high float64, words string) {
		if value != nil {
			c.floatRange(field+"."+name, *value, 0, high, words)
		}
	}
	number("num_cycles", k.NumCycles, 1e6, "between 0 and 1000000")
	number("min_lr", k.MinLR, t.LearningRate, "between 0 and learning_rate")
	number("min_lr_rate", k.MinLRRate, 1, "between 0 and 1")
	number("min_lr_ratio", k.MinLRRatio, 1, "between 0 and 1")
	for _, shape := range []struct{ name, value string }{{"warmup_type", k.WarmupType}, {"decay_type", k.DecayType}} {
		if shape.value != "" {
			c.oneOf(field+"."+shape.name, shape.value, ShapeLinear, ShapeCosine, Shape1Sqrt)
		}
	}
	for _, steps := range []struct {
		name  string
		value *int
	}{{"num_decay_steps", k.NumDecaySteps}, {"num_stable_steps", k.NumStableSteps}} {
		if steps.value != nil {
			c.intRange(field+"."+steps.name, *steps.value, 0, maxSteps)
		}
	}
	switch {
	case t.LRSchedulerType == SchedulerCosineMinLR && (k.MinLR == nil) == (k.MinLRRate == nil):
		c.add(field, k.String(), "needs one of min_lr and min_lr_rate for cosine_with_min_lr", `set for example {"min_lr_rate": 0.1}`)
	case t.LRSchedulerType == SchedulerWSD && k.NumDecaySteps == nil:
		c.add(field, k.String(), "needs num_decay_steps for warmup_stable_decay", `set for example {"num_decay_steps": 20}`)
	}
}

// each visits the settings that are given, in a fixed order.
func (k SchedulerKwargs) each(visit func(name string, value any)) {
	v := reflect.ValueOf(k)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			visit(name, reflect.Indirect(v.Field(i)).Interface())
		}
	}
}

// String writes the settings as a flag has them.
func (k SchedulerKwargs) String() string {
	var parts []string
	k.each(func(name string, value any) { parts = append(parts, fmt.Sprintf("%s=%v", name, value)) })
	return strings.Join(parts, ",")
}

// MarshalText writes the settings as a flag has them.
func (k SchedulerKwargs) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads settings as a flag has them: name=value, separated by commas, or a JSON object.
func (k *SchedulerKwargs) UnmarshalText(text []byte) error {
	trimmed := strings.TrimSpace(string(text))
	if strings.HasPrefix(trimmed, "{") {
		return k.UnmarshalJSON([]byte(trimmed))
	}
	values := map[string]any{}
	for part := range strings.SplitSeq(trimmed, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return fmt.Errorf("%q is not name=value, such as min_lr_rate=0.1", shorten(part))
		}
		values[strings.TrimSpace(name)] = strings.TrimSpace(value)
		if json.Valid([]byte(strings.TrimSpace(value))) {
			values[strings.TrimSpace(name)] = json.RawMessage(strings.TrimSpace(value))
		}
	}
	data, err := json.Marshal(values)
	if err != nil {
		return err
	}
	return k.UnmarshalJSON(data)
}

// MarshalJSON writes the settings that are given as an object.
func (k SchedulerKwargs) MarshalJSON() ([]byte, error) {
	type plain SchedulerKwargs
	return json.Marshal(plain(k))
}

// UnmarshalJSON reads an object of settings, strictly.
func (k *SchedulerKwargs) UnmarshalJSON(data []byte) error {
	type plain SchedulerKwargs
	var read plain
	if _, problems := DecodeStrict(data, &read); len(problems) > 0 {
		return errors.New(Problems(problems).Error())
	}
	*k = SchedulerKwargs(read)
	return nil
}
