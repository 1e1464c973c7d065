package generate

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"descant/pkg/device"
)

// parityDir is the folder of reference cases.
func parityDir() string {
	if dir := os.Getenv("DESCANT_PARITY_DIR"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "testdata", "parity")
}

// readJSON reads a file of a case.
func readJSON(t *testing.T, into any, path ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", filepath.Join(path...), err)
	}
}

// openDevice opens a device or fails the test.
func openDevice(t *testing.T, kind string) *device.Device {
	t.Helper()
	dev, err := device.Open(kind)
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

// start starts an engine that is closed with the test.
func start(t *testing.T, kind, base string, opts Options) *Engine {
	t.Helper()
	e, err := New(openDevice(t, kind), base, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// collect runs a request and returns its tokens, the stop id included.
func collect(t *testing.T, e *Engine, req Request) []int32 {
	t.Helper()
	var ids []int32
	finish, err := e.Generate(t.Context(), req, func(token Token) error {
		ids = append(ids, token.ID)
		return nil
	})
	if err != nil {
		t.Error(err)
		return nil
	}
	if finish.Reason == ReasonStop {
		ids = append(ids, finish.StopID)
	}
	if finish.CompletionTokens != len(ids) || finish.PromptTokens != len(req.Prompt) {
		t.Errorf("finish %+v for %d tokens", finish, len(ids))
	}
	return ids
}

// generateCase is generate.json.
type generateCase struct {
	NewTokens int `json:"new_tokens"`
	Prompts   []struct {
		Prompt        []int32
		Base, Adapter struct{ IDs []int32 }
	}
	Stop struct {
		Prompt []int32
		EOS    int32 `json:"eos_token_id"`
		IDs    []int32
	}
	RepetitionPenalty struct {
		Prompt  []int32
		Penalty float64
		IDs     []int32
	} `json:"repetition_penalty"`
}

func TestParitySampling(t *testing.T) {
	t.Parallel()
	var file struct {
		Vectors map[string]struct {
			Logits   []float32
			InputIDs []int32 `json:"input_ids"`
		}
		Cases []struct {
			Vector   string
			Settings Sampling
			Kept     []int32
			Probs    []float64
		}
	}
	readJSON(t, &file, parityDir(), "sampling.json")
	if len(file.Cases) == 0 {
		t.Fatal("sampling.json has no cases")
	}
	for i, c := range file.Cases {
		v := file.Vectors[c.Vector]
		logits := slices.Clone(v.Logits)
		newSampler(&Request{Prompt: v.InputIDs, Sampling: c.Settings}).penalize(logits)
		want := map[int32]float64{}
		for k, id := range c.Kept {
			want[id] = c.Probs[k]
		}
		got := c.Settings.distribution(logits, nil)
		if len(got) != len(want) {
			t.Errorf("case %d, %s %+v: %d ids kept, want %d", i, c.Vector, c.Settings, len(got), len(want))
			continue
		}
		for _, k := range got {
			if p, ok := want[k.id]; !ok || math.Abs(p-k.prob) > 1e-5 {
				t.Errorf("case %d, %s %+v: id %d has %g, want %g (kept: %v)", i, c.Vector, c.Settings, k.id, k.prob, p, ok)
			}
		}
	}
}
