package lora

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"descant/pkg/job"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
)

// asked is a training with changed options of the adapter.
func asked(t *testing.T, options string) job.Training {
	t.Helper()
	request, problems := job.ParseRequest([]byte(`{"model":"m","dataset":"d",` + options + `}`))
	if len(problems) > 0 {
		t.Fatal(job.Problems(problems).Error())
	}
	return request.Training
}

// TestParityOptions takes the options that PEFT was given and compares what is written with what PEFT wrote.
func TestParityOptions(t *testing.T) {
	t.Parallel()
	compared := 0
	for _, dir := range []string{modeltest.ParityDir(t), filepath.Join("..", "..", "testdata", "parity")} {
		data, err := os.ReadFile(filepath.Join(dir, "peft_format.json"))
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Cases []struct {
				Name     string                     `json:"name"`
				Base     string                     `json:"base"`
				TaskType *string                    `json:"task_type"`
				Options  map[string]json.RawMessage `json:"lora_config"`
				Config   map[string]any             `json:"adapter_config"`
				Text     string                     `json:"adapter_config_text"`
			} `json:"cases"`
		}
		if err := json.Unmarshal(data, &file); err != nil {
			t.Fatal(err)
		}
		for _, c := range file.Cases {
			if c.TaskType == nil || c.Options["target_modules"] == nil {
				continue // the task is always CAUSAL_LM here, and the targets have another default
			}
			compared++
			cfg, err := model.ReadConfig(filepath.Join(dir, c.Base))
			if err != nil {
				t.Fatal(err)
			}
			options, err := json.Marshal(c.Options)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := PlanTraining(cfg, asked(t, string(options[1:len(options)-1])), "org/tiny-base")
			if err != nil {
				t.Errorf("%s: %v", c.Name, err)
				continue
			}
			compareConfig(t, c.Name, plan.Config.Text(), c.Config)
			theirs, err := ParseConfig([]byte(c.Text))
			if err != nil {
				t.Fatal(err)
			}
			want, err := NewPlan(cfg, theirs)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(plan.Layers, want.Layers) {
				t.Errorf("%s: modules are\n%v\nexpected\n%v", c.Name, plan.Layers, want.Layers)
			}
		}
	}
	if compared < 10 {
		t.Errorf("only %d configurations compared", compared)
	}
}

// compareConfig compares fields. PEFT spells all-linear out in whole names and in no order, which is compared by the
// modules; one layer is a number there and a list of one here.
func compareConfig(t *testing.T, name, text string, want map[string]any) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	for field, value := range want {
		switch field {
		case "target_modules":
			if _, isList := value.([]any); isList {
				continue
			}
		case "base_model_name_or_path":
			continue
		case "layers_to_transform":
			if number, ok := value.(float64); ok {
				value = []any{number}
			}
		}
		if !reflect.DeepEqual(got[field], value) {
			t.Errorf("%s: %s is %v, PEFT writes %v", name, field, got[field], value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d fields, PEFT writes %d", name, len(got), len(want))
	}
}

func TestPlanTrainingRefused(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]string{
		`"rank_pattern":{"z_proj":4}`:                                       `rank_pattern: gives its value to no module of the adapter (found "z_proj"); the adapter has self_attn.q_proj, self_attn.k_proj`,
		`"target_modules":["9.self_attn.k_proj","q_proj","8.mlp.up_proj"]`:  `target_modules: no linear layer of the model is named so (found "8.mlp.up_proj"); use of self_attn.q_proj, self_attn.k_proj, self_attn.v_proj, self_attn.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj, each below model.layers.0 to model.layers.1`,
		`"target_modules":["0.self_attn.k_proj"],"layers_to_transform":1`:   `target_modules: no linear layer of the model is named so in layers_to_transform (found "0.self_attn.k_proj"); name other layers or modules`,
		`"target_modules":["q_proj"],"alpha_pattern":{"v_proj":4}`:          "alpha_pattern: gives its value to no module",
		`"rank_pattern":{".*_proj":4,"q_proj":2}`:                           `rank_pattern: gives its value to no module of the adapter (found "q_proj")`,
		`"layers_to_transform":[0,2]`:                                       "layers_to_transform: the base has 2 layers (found 2); use numbers from 0 to 1",
		`"target_modules":["model.layers.7.self_attn.q_proj"]`:              "model.layers.7",
		`"target_modules":".*\\.attention\\..*"`:                            "no linear layer of the model is named",
		`"layers_to_transform":[9],"target_modules":["q_proj"]`:             "no linear layer of the model is named",
		`"target_modules":["0.self_attn.q_proj"],"layers_to_transform":[1]`: "no linear layer of the model is named",
	} {
		_, err := PlanTraining(tiny(t), asked(t, options), "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, expected %q", options, err, want)
		}
		if classed := job.AsError("", err); classed == nil || classed.Class != job.User {
			t.Errorf("%s: %v is no user error", options, err)
		}
	}
}

// TestLayers: a restriction to layers says nothing to modules that are given by their whole names (tuners_utils.py,
// check_target_module_exists).
func TestLayers(t *testing.T) {
	t.Parallel()
	plan, err := PlanTraining(tiny(t), asked(t, `"layers_to_transform":[1],"target_modules":["model.layers.0.mlp.up_proj","k_proj"]`), "")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, modules := range plan.Layers {
		for _, m := range modules {
			names = append(names, m.Name)
		}
	}
	if want := []string{"model.layers.0.mlp.up_proj", "model.layers.1.self_attn.k_proj"}; !slices.Equal(names, want) {
		t.Errorf("modules are %v, expected %v", names, want)
	}
	all, err := PlanTraining(tiny(t), asked(t, `"layers_to_transform":1`), "")
	if err != nil || len(all.Layers[0]) != 0 || len(all.Layers[1]) != 7 {
		t.Errorf("all-linear in layer 1: %v, %v", all, err)
	}
}

func TestSameShape(t *testing.T) {
	t.Parallel()
	plan := func(options string) *Plan {
		p, err := PlanTraining(tiny(t), asked(t, options), "")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	parent := plan(`"r":4,"target_modules":["q_proj","v_proj"]`)
	if err := plan(`"r":4,"target_modules":".*\\.(q|v)_proj","lora_dropout":0.1`).SameShape(parent); err != nil {
		t.Errorf("the same modules in other words: %v", err)
	}
	for options, want := range map[string][]string{
		`"target_modules":["q_proj","v_proj"],"lora_alpha":8`:                                {"r: the adapter of init_from has 4 (found 8)", "lora_alpha: the adapter of init_from has 16 (found 8)"},
		`"r":4,"target_modules":["q_proj"]`:                                                  {"target_modules: the adapter of init_from has self_attn.q_proj, self_attn.v_proj in layer 0 (found self_attn.q_proj)"},
		`"r":4,"target_modules":["q_proj","v_proj"],"use_rslora":true`:                       {"use_rslora"},
		`"r":4,"target_modules":["q_proj","v_proj"],"rank_pattern":{"1.self_attn.q_proj":2}`: {"rank_pattern and alpha_pattern", "self_attn.q_proj:4:4;self_attn.v_proj:4:4; in layer 1"},
	} {
		err := plan(options).SameShape(parent)
		for _, part := range want {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, expected %q", options, err, part)
			}
		}
	}
}

// TestGaussian checks mean, spread and tails of A and that B is zero.
func TestGaussian(t *testing.T) {
	t.Parallel()
	plan, err := PlanTraining(tiny(t), asked(t, `"r":64,"target_modules":["down_proj"],"init_lora_weights":"gaussian"`), "")
	if err != nil {
		t.Fatal(err)
	}
	m := plan.Layers[0][0]
	flat := plan.Init(7)[0]
	a := flat[m.A:m.B]
	var sum, square float64
	beyond := 0
	for _, v := range a {
		x := float64(v) * 64 // the deviation is 1/r
		sum += x
		square += x * x
		if math.Abs(x) > 2 {
			beyond++
		}
	}
	n := float64(len(a))
	if mean := sum / n; math.Abs(mean) > 4/math.Sqrt(n) {
		t.Errorf("mean %g of %g values, expected 0", mean, n)
	}
	if variance := square / n; math.Abs(variance-1) > 4*math.Sqrt(2/n) {
		t.Errorf("variance %g, expected 1", variance)
	}
	// 4.55 % of a normal distribution lie beyond two deviations.
	if share := float64(beyond) / n; math.Abs(share-0.0455) > 0.02 {
		t.Errorf("%g of the values lie beyond two deviations", share)
	}
	for _, v := range flat[m.B:] {
		if v != 0 {
			t.Fatal("B is not zero")
		}
	}
	if again := plan.Init(7); again[0][3] != flat[3] || again[1][3] == flat[3] {
		t.Error("values do not follow from seed and place")
	}
}
