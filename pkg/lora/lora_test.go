package lora

import (
	"math"
	"strings"
	"testing"

	"descant/pkg/device"
	"descant/pkg/model"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// tiny is an architecture of two layers.
func tiny(t *testing.T) *model.Config {
	t.Helper()
	cfg, err := model.ParseConfig([]byte(`{"model_type":"qwen2","vocab_size":50,"hidden_size":16,"intermediate_size":24,
		"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":64}`))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestAllLinearInFile: PEFT refuses a file that holds the word all-linear.
func TestAllLinearInFile(t *testing.T) {
	t.Parallel()
	c := &Config{R: 8, Alpha: 16, Targets: []string{AllLinear}}
	text := c.Text()
	if strings.Contains(text, AllLinear) || !strings.Contains(text, `"gate_proj"`) {
		t.Errorf("target_modules are not spelled out:\n%s", text)
	}
	back, err := ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	cfg := tiny(t)
	one, err := NewPlan(cfg, c)
	if err != nil {
		t.Fatal(err)
	}
	two, err := NewPlan(cfg, back)
	if err != nil {
		t.Fatal(err)
	}
	if one.Parameters() != two.Parameters() || one.Signature(1) != two.Signature(1) {
		t.Errorf("%d parameters written, %d read", one.Parameters(), two.Parameters())
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]string{
		`"use_dora": true`:             "use_dora is true",
		`"bias": "all"`:                "bias is all",
		`"modules_to_save": ["x"]`:     "modules_to_save is [x]",
		`"fan_in_fan_out": true`:       "fan_in_fan_out is true",
		`"r": 0`:                       "r 0 is not above 0",
		`"rank_pattern": {"a": 0.5}`:   "rank_pattern",
		`"peft_type": "IA3"`:           "only LORA adapters",
		`"target_modules": null`:       "target_modules",
		`"layers_to_transform": "all"`: "layers_to_transform",
	} {
		text := `{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], ` + field + `}`
		if _, err := ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, expected %q", field, err, want)
		}
	}
	if _, err := NewPlan(tiny(t), &Config{R: 4, Alpha: 8, Targets: []string{"q_proj", "z_proj"}}); err == nil ||
		!strings.Contains(err.Error(), `"z_proj"`) {
		t.Errorf("an unknown module was accepted: %v", err)
	}
}

// TestInit checks range and spread of A, that B is zero, and that the seed alone decides.
func TestInit(t *testing.T) {
	t.Parallel()
	plan, err := NewPlan(tiny(t), &Config{R: 16, Alpha: 16, Targets: []string{"q_proj"}})
	if err != nil {
		t.Fatal(err)
	}
	m := plan.Layers[0][0]
	flat := plan.Init(7)[0]
	var square float64
	for _, v := range flat[m.A:m.B] {
		if math.Abs(float64(v)) > 0.25 { // 1/√16
			t.Fatalf("%g is outside of ±1/√in", v)
		}
		square += float64(v) * float64(v)
	}
	if variance := square / float64(m.B-m.A); math.Abs(variance-0.0625/3) > 0.004 {
		t.Errorf("variance %g, expected %g", variance, 0.0625/3)
	}
	for _, v := range flat[m.B:] {
		if v != 0 {
			t.Fatal("B is not zero")
		}
	}
	again, other := plan.Init(7), plan.Init(8)
	if again[0][3] != flat[3] || again[1][3] == flat[3] || other[0][3] == flat[3] {
		t.Error("values do not follow from seed and place")
	}
}

// TestDrop checks that dropout keeps the mean, depends on the key, and repeats itself.
func TestDrop(t *testing.T) {
	t.Parallel()
	dev, err := device.Open(device.Go)
	if err != nil {
		t.Fatal(err)
	}
	const rows, width, p = 64, 64, 0.25
	program, err := model.NewCompiler(dev.Backend()).Compile("drop",
		[]shapes.Shape{shapes.Make(dtypes.Float32, rows, width), shapes.Make(dtypes.Uint32)},
		func(_ *Graph, in []*Node) []*Node { return []*Node{drop(in[0], in[1], 1, p)} })
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	ones, err := model.Fill(dev.Backend(), func(v []float32) error {
		for i := range v {
			v[i] = 1
		}
		return nil
	}, rows, width)
	if err != nil {
		t.Fatal(err)
	}
	run := func(key uint32) []float32 {
		k, err := model.Upload(dev.Backend(), []uint32{key})
		if err != nil {
			t.Fatal(err)
		}
		out, err := program.Run(ones, k)
		if err != nil {
			t.Fatal(err)
		}
		values, err := model.Download[float32](out[0])
		if err != nil {
			t.Fatal(err)
		}
		return values
	}
	first, again, other := run(1), run(1), run(2)
	sum, same := 0.0, 0
	for i, v := range first {
		if v != 0 && math.Abs(float64(v)-1/(1-p)) > 1e-6 || v != again[i] {
			t.Fatalf("element %d is %g and %g", i, v, again[i])
		}
		sum += float64(v)
		if v == other[i] {
			same++
		}
	}
	if mean := sum / (rows * width); math.Abs(mean-1) > 0.04 {
		t.Errorf("mean %g, expected 1", mean)
	}
	// Two independent masks agree in p² + (1-p)² = 62.5 % of the places.
	if share := float64(same) / (rows * width); math.Abs(share-0.625) > 0.05 {
		t.Errorf("masks of two keys agree in %g of the places", share)
	}
}
