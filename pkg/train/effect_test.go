package train

import (
	"context"
	"math"
	"slices"
	"testing"

	"descant/pkg/generate"
)

// TestProbeComesOutOfTheEngine: what the trainer tells of an adapter is what the engine that serves it computes, and
// not what the bare base gives.
func TestProbeComesOutOfTheEngine(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 3)
	result, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	p := result.Probe
	if n := len(p.IDs); n < probeIDs || n > 2*probeIDs || len(p.Logits) != n || len(p.Base) != n || !slices.IsSorted(p.IDs) {
		t.Fatalf("probe %+v", p)
	}
	e, err := generate.New(cfg.Device, cfg.BaseDir, generate.Options{MaxRows: 1, MaxContext: 64, Slots: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if err := e.LoadAdapter(t.Context(), "a", result.AdapterDir); err != nil {
		t.Fatal(err)
	}
	differ := 0.0
	for key, want := range map[string][]float32{"": p.Base, "a": p.Logits} {
		logits, err := e.Probe(t.Context(), key, p.Prompt)
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range p.IDs {
			if off := math.Abs(float64(logits[id] - want[i])); off > 1e-4 {
				t.Errorf("adapter %q: logit of %d is %g, the trainer saw %g", key, id, logits[id], want[i])
			}
			differ = max(differ, math.Abs(float64(p.Logits[i]-p.Base[i])))
		}
	}
	if differ < 1e-3 {
		t.Errorf("with and without the adapter the logits differ by at most %g: the probe shows nothing", differ)
	}
}
