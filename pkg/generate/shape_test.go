package generate

import (
	"slices"
	"testing"

	"descant/pkg/model"
)

// TestLayerRuns counts the layers of each run: every layer is in one, none is with another of another window, and only a chunk's last
// one goes on with one token.
func TestLayerRuns(t *testing.T) {
	t.Parallel()
	one, batch := stepShape{batchShape{1, 1}, noAdapter}, stepShape{batchShape{4, 1}, noAdapter}
	for name, test := range map[string]struct {
		windows []int
		step    stepShape
		want    []int
	}{
		"no windows":           {make([]int, 6), one, []int{4, 2}},
		"a batch":              {make([]int, 3), batch, []int{1, 1, 1}},
		"windows in the end":   {[]int{0, 0, 0, 8, 8, 8}, one, []int{3, 3}},
		"a chunk":              {make([]int, 3), stepShape{batchShape{1, 32}, noAdapter}, []int{1, 1, 1}},
		"a draft":              {make([]int, 2), stepShape{batchShape{1, 5}, noAdapter}, []int{1, 1}},
		"windows in turn":      {[]int{8, 0, 8, 0}, one, []int{1, 1, 1, 1}},
		"windows of no effect": {[]int{0, 65, 0, 65}, one, []int{4}},
	} {
		cfg := &model.Config{Layers: len(test.windows), Windows: test.windows}
		var got []int
		runs := layerPlan{config: cfg, verify: 5}.layerRuns(test.step, 64)
		for i, run := range runs {
			got = append(got, run.layers)
			if last := i == len(runs)-1 && test.step.tokens == 32; run.last != last {
				t.Errorf("%s: run %d is the last of a chunk: %t", name, i, run.last)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, not %v", name, got, test.want)
		}
	}
}
