package generate

import (
	"path/filepath"
	"slices"
	"testing"

	"descant/pkg/device"
)

// TestProbeShowsTheLogitsBehindAPrompt: those of an adapter that was read once and loaded twice are the same, other
// than the base's, and their largest is the token that a greedy answer begins with.
func TestProbeShowsTheLogitsBehindAPrompt(t *testing.T) {
	t.Parallel()
	dir := caseDir(twoAdapters)
	e := start(t, device.Go, filepath.Join(dir, "base"), Options{MaxRows: 2, MaxContext: 64, Slots: 2, MaxRank: 4})
	weights, err := e.ReadAdapter(filepath.Join(dir, "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	if want := 4 * weights.adapter.Parameters(); weights.Bytes() != want || want == 0 {
		t.Errorf("the weights take %d bytes, want %d", weights.Bytes(), want)
	}
	prompt := []int32{5, 6, 7}
	var seen [][]float32
	for _, key := range []string{"", "a", "b"} {
		if key != "" {
			if err := e.Load(t.Context(), key, weights); err != nil {
				t.Fatal(err)
			}
		}
		logits, err := e.Probe(t.Context(), key, prompt)
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, logits)
		answer := collect(t, e, Request{Adapter: key, Prompt: prompt, MaxTokens: 1})
		if best := slices.Index(logits, slices.Max(logits)); len(answer) != 1 || int(answer[0]) != best {
			t.Errorf("%q: the answer begins with %v, the largest logit is that of %d", key, answer, best)
		}
	}
	if slices.Equal(seen[0], seen[1]) || !slices.Equal(seen[1], seen[2]) {
		t.Error("the adapter must change the logits, and the same weights twice must give the same")
	}
	if err := e.Load(t.Context(), "", weights); err == nil {
		t.Error("the bare base was replaced")
	}
	if s := e.Stats(); s.Rows != 0 {
		t.Errorf("a probe leaves its row taken: %+v", s)
	}
}
