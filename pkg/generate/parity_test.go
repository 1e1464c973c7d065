package generate

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"descant/pkg/device"
	"descant/pkg/model"
)

// parityDir is the folder of reference cases.
func parityDir() string {
	if dir := os.Getenv("DESCANT_PARITY_DIR"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "testdata", "parity")
}

// parityCases lists the cases of a supported family.
func parityCases(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(parityDir(), "*", "generate.json"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no cases under %s: set DESCANT_PARITY_DIR, or make testdata/parity with scripts/parity (%v)", parityDir(), err)
	}
	var cases []string
	for _, file := range found {
		if dir := filepath.Dir(file); supported(t, dir) {
			cases = append(cases, dir)
		}
	}
	return cases
}

func supported(t *testing.T, dir string) bool {
	_, err := model.ReadConfig(filepath.Join(dir, "base"))
	if err != nil {
		t.Errorf("%s: %v", dir, err)
	}
	return err == nil
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
	finish, err := e.Generate(t.Context(), req, func(id int32) error {
		ids = append(ids, id)
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

// TestParityGenerate decodes greedily with a cache, with and without the adapter, one request after the other.
func TestParityGenerate(t *testing.T) {
	for _, kind := range []string{device.XLA, device.Go} {
		for _, dir := range parityCases(t) {
			t.Run(kind+"/"+filepath.Base(dir), func(t *testing.T) {
				t.Parallel()
				var c generateCase
				readJSON(t, &c, dir, "generate.json")
				// One row keeps the programs few; the batch has its own test.
				e := start(t, kind, filepath.Join(dir, "base"), Options{MaxRows: 1, MaxContext: 64, Slots: 1, MaxRank: 16})
				if err := e.LoadAdapter(t.Context(), "a", filepath.Join(dir, "adapter")); err != nil {
					t.Fatal(err)
				}
				for _, p := range c.Prompts {
					req := Request{Prompt: p.Prompt, MaxTokens: c.NewTokens}
					if got := collect(t, e, req); !slices.Equal(got, p.Base.IDs) {
						t.Errorf("base: %v, want %v", got, p.Base.IDs)
					}
					req.Adapter = "a"
					if got := collect(t, e, req); !slices.Equal(got, p.Adapter.IDs) {
						t.Errorf("adapter: %v, want %v", got, p.Adapter.IDs)
					}
				}
				req := Request{Prompt: c.Stop.Prompt, MaxTokens: c.NewTokens, StopIDs: []int32{1 << 20, c.Stop.EOS}}
				if got := collect(t, e, req); !slices.Equal(got, c.Stop.IDs) {
					t.Errorf("stop: %v, want %v", got, c.Stop.IDs)
				}
				req = Request{Prompt: c.RepetitionPenalty.Prompt, MaxTokens: c.NewTokens,
					Sampling: Sampling{RepetitionPenalty: c.RepetitionPenalty.Penalty}}
				if got := collect(t, e, req); !slices.Equal(got, c.RepetitionPenalty.IDs) {
					t.Errorf("repetition penalty: %v, want %v", got, c.RepetitionPenalty.IDs)
				}
			})
		}
	}
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
		c.Settings.penalize(logits, v.InputIDs)
		want := map[int32]float64{}
		for k, id := range c.Kept {
			want[id] = c.Probs[k]
		}
		got := c.Settings.distribution(logits)
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
