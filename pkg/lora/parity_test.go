package lora_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"descant/pkg/device"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
	"descant/pkg/safetensors"
)

// Tolerances of the parity cases (their README says how they were measured).
const (
	logitsLimit = 5e-5
	mergedLimit = 1e-6
)

func TestParityAdapter(t *testing.T) {
	for _, dev := range modeltest.Devices(t) {
		for _, c := range modeltest.Cases(t, "adapter_forward.safetensors") {
			t.Run(dev.Kind()+"/"+c.Name, func(t *testing.T) {
				t.Parallel()
				checkAdapter(t, dev, c)
			})
		}
	}
}

func checkAdapter(t *testing.T, dev *device.Device, c modeltest.Case) {
	want := c.Tensors(t, "adapter_forward.safetensors")
	m, err := model.Load(dev, c.Base())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	a, err := lora.Load(m.Config, filepath.Join(c.Dir, "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	params := make([]*model.Array, len(a.Flats))
	for i, flat := range a.Flats {
		if len(flat) == 0 {
			continue
		}
		if params[i], err = model.Upload(dev.Backend(), flat, len(flat)); err != nil {
			t.Fatal(err)
		}
	}
	defer model.FreeAll(params...)
	f := model.NewForward(m, model.NewCompiler(dev.Backend()), a, params)
	defer f.Close()
	right := c.Tensors(t, "forward.safetensors").Batch(t, "right")
	_, logits, err := f.Logits(right, places(right))
	if err != nil {
		t.Fatal(err)
	}
	modeltest.Near(t, "right.logits", zeroPadding(logits, right), want.F32(t, "right.logits"), logitsLimit)
}

// TestParityMerge merges every adapter into its base, compares the weights and runs the merged model.
func TestParityMerge(t *testing.T) {
	dev, err := device.Open(device.Go)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range modeltest.Cases(t, "merged_forward.safetensors") {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			want := c.Tensors(t, "merged_forward.safetensors")
			dir := t.TempDir()
			merged := mergeInto(t, c, dir, safetensors.F32)
			for _, name := range want.Names() {
				if weight, ok := cutPrefix(name, "merged."); ok {
					got, err := merged.Float32(weight)
					if err != nil {
						t.Fatal(err)
					}
					modeltest.Near(t, name, got, want.F32(t, name), mergedLimit)
				}
			}
			m, err := model.Load(dev, dir)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			f := model.NewForward(m, model.NewCompiler(dev.Backend()), nil, nil)
			defer f.Close()
			right := c.Tensors(t, "forward.safetensors").Batch(t, "right")
			_, logits, err := f.Logits(right, places(right))
			if err != nil {
				t.Fatal(err)
			}
			modeltest.Near(t, "right.logits", zeroPadding(logits, right), want.F32(t, "right.logits"), logitsLimit)

			half := mergeInto(t, c, t.TempDir(), "")
			for _, name := range want.Names() {
				if weight, ok := cutPrefix(name, "merged_bf16."); ok {
					got, err := half.Float32(weight)
					if err != nil {
						t.Fatal(err)
					}
					// One unit of bfloat16 where the sum lies at the border between two of its numbers.
					modeltest.Close(t, name, got, want.F32(t, name), 1e-4)
				}
			}
		})
	}
}

func mergeInto(t *testing.T, c modeltest.Case, dir string, dtype safetensors.DType) *modeltest.Tensors {
	t.Helper()
	cfg, err := model.ReadConfig(c.Base())
	if err != nil {
		t.Fatal(err)
	}
	a, err := lora.Load(cfg, filepath.Join(c.Dir, "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	base, err := safetensors.OpenDir(c.Base())
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	path := filepath.Join(dir, "model.safetensors")
	if err := a.Merge(base, path, dtype); err != nil {
		t.Fatal(err)
	}
	config, err := os.ReadFile(filepath.Join(c.Base(), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	return modeltest.OpenTensors(t, path)
}

// TestParityFiles writes adapters of PEFT's configurations and compares names, shapes, order, sizes and text.
func TestParityFiles(t *testing.T) {
	dir := modeltest.ParityDir(t)
	data, err := os.ReadFile(filepath.Join(dir, "peft_format.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Name    string `json:"name"`
			Base    string `json:"base"`
			Tensors []struct {
				Key   string `json:"key"`
				DType string `json:"dtype"`
				Shape []int  `json:"shape"`
			} `json:"tensors"`
			FileBytes  int64  `json:"file_bytes"`
			ConfigText string `json:"adapter_config_text"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			cfg, err := model.ReadConfig(filepath.Join(dir, c.Base))
			if err != nil {
				t.Fatal(err)
			}
			config, err := lora.ParseConfig([]byte(c.ConfigText))
			if err != nil {
				t.Fatal(err)
			}
			plan, err := lora.NewPlan(cfg, config)
			if err != nil {
				t.Fatal(err)
			}
			out := t.TempDir()
			a := &lora.Adapter{Plan: plan, Flats: plan.Init(1)}
			if err := a.Save(out); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(filepath.Join(out, lora.ConfigFile))
			if err != nil {
				t.Fatal(err)
			}
			if string(text) != c.ConfigText {
				t.Errorf("adapter_config.json is\n%s\nexpected\n%s", text, c.ConfigText)
			}
			stat, err := os.Stat(filepath.Join(out, lora.WeightsFile))
			if err != nil {
				t.Fatal(err)
			}
			if stat.Size() != c.FileBytes {
				t.Errorf("the file has %d bytes, expected %d", stat.Size(), c.FileBytes)
			}
			written := modeltest.OpenTensors(t, filepath.Join(out, lora.WeightsFile))
			if len(written.Names()) != len(c.Tensors) {
				t.Errorf("%d tensors, expected %d", len(written.Names()), len(c.Tensors))
			}
			for _, want := range c.Tensors {
				info, _ := written.Info(want.Key)
				if string(info.DType) != want.DType || !slices.Equal(info.Shape, want.Shape) {
					t.Errorf("%s is %v, expected %s %v", want.Key, info, want.DType, want.Shape)
				}
			}
		})
	}
	if len(file.Cases) == 0 {
		t.Error("no cases")
	}
}

func cutPrefix(name, prefix string) (string, bool) {
	if len(name) > len(prefix) && name[:len(prefix)] == prefix {
		return name[len(prefix):], true
	}
	return "", false
}

func places(b model.Batch) []int32 {
	list := make([]int32, len(b.IDs))
	for i := range list {
		list[i] = int32(i)
	}
	return list
}

func zeroPadding(values []float32, b model.Batch) []float32 {
	width := len(values) / len(b.IDs)
	for i, ok := range b.Valid {
		if !ok {
			clear(values[i*width : (i+1)*width])
		}
	}
	return values
}
