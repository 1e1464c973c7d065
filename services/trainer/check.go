package trainer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"descant/pkg/job"
	"descant/pkg/safetensors"
)

// check looks at the trained files before anybody else does: they load, every number is finite, and
// an adapter is not the nothing that it started as.
func check(dir, method string) error {
	if method == job.MethodLora {
		if err := checkAdapterConfig(dir); err != nil {
			return selfCheckError(err)
		}
		return checkAdapter(filepath.Join(dir, "adapter_model.safetensors"))
	}
	set, err := safetensors.OpenDir(dir)
	if err != nil {
		return selfCheckError(err)
	}
	defer set.Close()
	for _, name := range set.Names() {
		if _, err := finite(set.Float32, name); err != nil {
			return selfCheckError(err)
		}
	}
	return nil
}

func checkAdapterConfig(dir string) error {
	data, err := os.ReadFile(filepath.Join(dir, "adapter_config.json"))
	if err != nil {
		return err
	}
	var config struct {
		Type string `json:"peft_type"`
		R    int    `json:"r"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return fmt.Errorf("adapter_config.json: %w", err)
	}
	if config.Type != "LORA" || config.R < 1 {
		return fmt.Errorf("adapter_config.json says peft_type %q and r %d", config.Type, config.R)
	}
	return nil
}

func checkAdapter(path string) error {
	file, err := safetensors.Open(path)
	if err != nil {
		return selfCheckError(err)
	}
	defer file.Close()
	moved, tensors := false, 0
	for _, name := range file.Names() {
		largest, err := finite(file.Float32, name)
		if err != nil {
			return selfCheckError(err)
		}
		if strings.Contains(name, "lora_B") {
			tensors++
			moved = moved || largest > 0
		}
	}
	if tensors == 0 {
		return selfCheckError(errors.New("the adapter has no lora_B tensor"))
	}
	if !moved {
		return job.UserError(job.CodeSelfCheck, "training changed nothing: every lora_B tensor is still zero", "raise learning_rate or max_steps")
	}
	return nil
}

// finite returns the largest magnitude of a tensor, or an error when a value is not finite.
func finite(read func(string) ([]float32, error), name string) (float64, error) {
	values, err := read(name)
	if err != nil {
		return 0, err
	}
	largest := 0.0
	for i, v := range values {
		x := math.Abs(float64(v))
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return 0, fmt.Errorf("value %d of tensor %s is %g", i, name, v)
		}
		largest = max(largest, x)
	}
	return largest, nil
}

func selfCheckError(err error) error {
	return job.BugError("check the result", err)
}
