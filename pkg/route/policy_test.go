package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestRank(t *testing.T) {
	t.Parallel()
	has := func(id string, load int, adapters ...string) Worker {
		return Worker{ID: id, Bases: []Base{{Name: "base", Digest: "sha256:b", Rows: 8, Load: load}}, Adapters: adapters}
	}
	cold := Worker{ID: "cold"}
	other := Worker{ID: "other", Bases: []Base{{Name: "c", Digest: "sha256:c", Rows: 8}}}
	leaving := has("leaving", 0, "x")
	leaving.Draining = true
	x := Wish{Base: "sha256:b", Adapters: []string{"x"}}
	tests := map[string]struct {
		workers []Worker
		wish    Wish
		want    string
	}{
		"nobody":                              {nil, x, ""},
		"only one that leaves":                {[]Worker{leaving}, x, ""},
		"the adapter's worker":                {[]Worker{has("a", 0), has("b", 5, "x")}, x, "b a"},
		"free rows before the adapter":        {[]Worker{has("a", 8, "x"), has("b", 7)}, x, "b a"},
		"all full: the adapter's":             {[]Worker{has("a", 8), has("b", 12, "x")}, x, "b a"},
		"all full: the shorter queue":         {[]Worker{has("a", 12, "x"), has("b", 9, "x")}, x, "b a"},
		"the base before free rows elsewhere": {[]Worker{cold, other, has("a", 30)}, x, "a cold other"},
		"the base by its name":                {[]Worker{other, has("a", 3)}, Wish{Base: "base"}, "a other"},
		"a whole model as a version": {[]Worker{has("a", 0), {ID: "b", Bases: []Base{{Name: "my-model@1", Digest: "x", Rows: 8, Load: 3}}}},
			Wish{Base: "sha256:c", Adapters: []string{"x"}}, "b a"},
		"any base":                       {[]Worker{cold, has("a", 3), has("b", 2)}, Wish{}, "b a cold"},
		"both adapters of a combination": {[]Worker{has("a", 0, "x"), has("b", 0, "y", "x")}, Wish{Base: "base", Adapters: []string{"x", "y"}}, "b a"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, w := range Rank(tt.workers, tt.wish) {
				got = append(got, w.ID)
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("order %v, want %s", got, tt.want)
			}
		})
	}
}

// TestRankSpreadsAdapters: adapters that nobody has loaded yet go to different workers, and each always to the same.
func TestRankSpreadsAdapters(t *testing.T) {
	t.Parallel()
	var workers []Worker
	for i := range 4 {
		workers = append(workers, Worker{ID: fmt.Sprint("w", i), Bases: []Base{{Digest: "b", Rows: 8}}})
	}
	share := map[string]int{}
	for i := range 400 {
		wish := Wish{Base: "b", Adapters: []string{fmt.Sprint("adapter-", i)}}
		first := Rank(workers, wish)[0].ID
		slices.Reverse(workers)
		if again := Rank(workers, wish)[0].ID; again != first {
			t.Fatalf("adapter %d goes to %s and to %s", i, first, again)
		}
		share[first]++
	}
	for _, w := range workers {
		if n := share[w.ID]; n < 50 || n > 150 {
			t.Errorf("%s has %d of 400 adapters, want about 100", w.ID, n)
		}
	}
}

// TestRankKeepsAdaptersTogether: under a load that fits, an adapter that was loaded once is not loaded elsewhere.
func TestRankKeepsAdaptersTogether(t *testing.T) {
	t.Parallel()
	workers := []Worker{{ID: "a", Bases: []Base{{Digest: "b", Rows: 8}}}, {ID: "b", Bases: []Base{{Digest: "b", Rows: 8}}}}
	loads := 0
	for i := range 200 {
		adapter := fmt.Sprint(i % 10)
		id := Rank(workers, Wish{Base: "b", Adapters: []string{adapter}})[0].ID
		at := slices.IndexFunc(workers, func(w Worker) bool { return w.ID == id })
		workers[at].Bases[0].Load = i % 7 // others come and go
		if !slices.Contains(workers[at].Adapters, adapter) {
			workers[at].Adapters = append(workers[at].Adapters, adapter)
			loads++
		}
	}
	if loads != 10 {
		t.Errorf("10 adapters were loaded %d times", loads)
	}
}
