package generate

import (
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"descant/pkg/device"
)

func TestLookUp(t *testing.T) {
	t.Parallel()
	cases := []struct {
		ids  []int32
		most int
		want []int32
	}{
		{[]int32{1, 2, 3, 4, 5, 1, 2, 3}, 7, []int32{4, 5, 1, 2, 3}},
		{[]int32{1, 2, 3, 4, 5, 1, 2, 3}, 2, []int32{4, 5}},
		{[]int32{1, 2, 3, 9, 7, 2, 3, 8, 1, 2, 3}, 1, []int32{9}}, // three tokens tell more than two
		{[]int32{7, 2, 3, 9, 6, 2, 3, 8, 1, 2, 3}, 1, []int32{8}}, // the newest place
		{[]int32{5, 5, 5}, 7, []int32{5}},
		{[]int32{1, 2, 3}, 7, nil},
		{[]int32{1}, 7, nil},
	}
	for _, c := range cases {
		if got := lookUp(c.ids, c.most); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.ids, got, c.want)
		}
	}
}

// TestSpeculationChangesNothing runs requests with and without drafts, alone and all at once with the base and an
// adapter: greedy ones and samples, with stop ids, and up to a full context.
func TestSpeculationChangesNothing(t *testing.T) {
	for kind, drafts := range map[string]int{device.Go: 3, device.XLA: 0} { // 0 is the usual length
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := caseDir(twoAdapters)
			e := start(t, kind, filepath.Join(dir, "base"), Options{MaxRows: 4, MaxContext: 120, Slots: 1, MaxRank: 4, DraftTokens: drafts})
			if err := e.LoadAdapter(t.Context(), "a", filepath.Join(dir, "adapter")); err != nil {
				t.Fatal(err)
			}
			if err := e.Warm(t.Context()); err != nil {
				t.Fatal(err)
			}
			var requests []Request
			for i, key := range []string{"", "a", "", "a", "", "a"} {
				req := Request{Adapter: key, Prompt: slices.Repeat([]int32{5, 6, 7, int32(20 + i)}, 5), MaxTokens: 60, Speculation: SpeculationOff}
				switch i {
				case 2, 3: // few ids are likely enough, so that the sample repeats itself
					req.Sampling = Sampling{Temperature: 0.3, TopK: 2, Seed: uint64(i)}
				case 4:
					req.MaxTokens = 0
				}
				requests = append(requests, req)
			}
			requests = append(requests, requests[0])
			var want [][]int32
			for i, req := range requests {
				if i == len(requests)-1 {
					requests[i].StopIDs = want[0][40:41] // may come within a draft
					req = requests[i]
				}
				want = append(want, collect(t, e, req))
			}
			if s := e.Stats(); s.DraftedTokens != 0 {
				t.Errorf("%d tokens were drafted with speculation off", s.DraftedTokens)
			}
			got := make([][]int32, len(requests))
			for _, together := range []bool{false, true} {
				var wg sync.WaitGroup
				for i, req := range requests {
					req.Speculation = SpeculationOn
					run := func() { got[i] = collect(t, e, req) }
					if together {
						wg.Go(run)
					} else {
						run()
					}
				}
				wg.Wait()
				for i := range requests {
					if !slices.Equal(got[i], want[i]) {
						t.Errorf("request %d (together: %v): %v with drafts, %v without", i, together, got[i], want[i])
					}
				}
			}
			if s := e.Stats(); s.AcceptedTokens == 0 || s.AcceptedTokens == s.DraftedTokens {
				t.Errorf("%d of %d drafted tokens were right: the test shows only one side", s.AcceptedTokens, s.DraftedTokens)
			}
		})
	}
}
