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
			merged := mergeInto(t, c, asFloat32(t, c.Base()), dir)
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

			half := mergeInto(t, c, c.Base(), t.TempDir())
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

// asFloat32 is a copy of a base in one file of float32, where it is stored otherwise.
func asFloat32(t *testing.T, dir string) string {
	t.Helper()
	set, err := safetensors.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var list []safetensors.Tensor
	for _, name := range set.Names() {
		info, _ := set.Info(name)
		values, err := set.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, safetensors.Tensor{Name: name, DType: safetensors.F32, Shape: info.Shape, Data: model.AsBytes(values)})
	}
	out := t.TempDir()
	if err := safetensors.Write(filepath.Join(out, safetensors.SingleFile), list, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	return out
}

// mergeInto merges a case's adapter into the weights of a base and checks that files, tensors and dtypes stay.
func mergeInto(t *testing.T, c modeltest.Case, baseDir, dir string) *safetensors.Set {
	t.Helper()
	cfg, err := model.ReadConfig(c.Base())
	if err != nil {
		t.Fatal(err)
	}
	a, err := lora.Load(cfg, filepath.Join(c.Dir, "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	base, err := safetensors.OpenDir(baseDir)
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	var done, total int64
	if err := a.Merge(t.Context(), base, dir, func(d, all int64) { done, total = d, all }); err != nil {
		t.Fatal(err)
	}
	if done != total || total == 0 {
		t.Errorf("progress ended at %d of %d", done, total)
	}
	config, err := os.ReadFile(filepath.Join(c.Base(), "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	merged, err := safetensors.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { merged.Close() })
	for i, file := range base.Files() {
		got := merged.Files()[i]
		if filepath.Base(got.Path()) != filepath.Base(file.Path()) || !slices.Equal(got.Names(), file.Names()) {
			t.Errorf("file %d is %s with %d tensors, the base's is %s with %d", i, got.Path(), len(got.Names()), file.Path(), len(file.Names()))
		}
		for _, name := range file.Names() {
			was, _ := file.Info(name)
			is, _ := got.Info(name)
			if was.String() != is.String() {
				t.Errorf("%s is %s, was %s", name, is, was)
			}
		}
	}
	return merged
}

// TestMergedDifference compares merged and unmerged models, and shows that the comparison can fail.
func TestMergedDifference(t *testing.T) {
	dev, err := device.Open(device.Go)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range modeltest.Cases(t, "adapter_forward.safetensors") {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			cfg, err := model.ReadConfig(c.Base())
			if err != nil {
				t.Fatal(err)
			}
			a, err := lora.Load(cfg, filepath.Join(c.Dir, "adapter"))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			mergeInto(t, c, asFloat32(t, c.Base()), dir)
			ids := []int32{1, 5, 9, 2, 77, 140, 3, 3, 61, 200}
			if got, err := a.MergedDifference(dev.Backend(), c.Base(), dir, ids); err != nil || !(got <= 1e-4) {
				t.Errorf("merged and unmerged differ by %g, %v", got, err)
			}
			if got, err := a.MergedDifference(dev.Backend(), c.Base(), c.Base(), ids); err != nil || !(got > 1e-2) {
				t.Errorf("the base without its adapter differs by only %g, %v", got, err)
			}
		})
	}
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
