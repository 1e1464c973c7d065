package trainer

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"descant/pkg/job"
	"descant/pkg/safetensors"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	const config = `{"peft_type":"LORA","r":2}`
	nan := float32(math.NaN())
	tests := map[string]struct {
		config string
		a, b   []float32
		nameB  string
		want   string // part of the error; empty means it passes
	}{
		"good":             {config, []float32{1, 2}, []float32{0, 0.5}, "x.lora_B.weight", ""},
		"b is still zero":  {config, []float32{1, 2}, []float32{0, 0}, "x.lora_B.weight", "training changed nothing"},
		"not a number":     {config, []float32{1, nan}, []float32{0, 1}, "x.lora_B.weight", "value 1 of tensor x.lora_A.weight is NaN"},
		"no b":             {config, []float32{1}, []float32{1}, "x.weight", "no lora_B tensor"},
		"not an adapter":   {`{"peft_type":"IA3"}`, []float32{1}, []float32{1}, "x.lora_B.weight", `peft_type "IA3"`},
		"no configuration": {"", []float32{1}, []float32{1}, "x.lora_B.weight", "adapter_config.json"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if tt.config != "" {
				if err := os.WriteFile(filepath.Join(dir, "adapter_config.json"), []byte(tt.config), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			tensors := []safetensors.Tensor{vector("x.lora_A.weight", tt.a), vector(tt.nameB, tt.b)}
			if err := safetensors.Write(filepath.Join(dir, "adapter_model.safetensors"), tensors, nil); err != nil {
				t.Fatal(err)
			}
			err := check(dir, job.MethodLora)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("check = %v, want %q", err, tt.want)
			}
		})
	}
}

func vector(name string, values []float32) safetensors.Tensor {
	var data []byte
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return safetensors.Tensor{Name: name, DType: safetensors.F32, Shape: []int{len(values)}, Data: data}
}
