package generate

import (
	"path/filepath"
	"slices"
	"testing"

	"descant/pkg/device"
)

// TestPrefixesChangeNoAnswer holds chats of several turns with the base and two adapters, with and without the prefix
// cache, and asks that later turns compute only what is new.
func TestPrefixesChangeNoAnswer(t *testing.T) {
	t.Parallel()
	dir := caseDir(twoAdapters)
	open := func(cache int64) *Engine {
		e := start(t, device.Go, filepath.Join(dir, "base"), Options{MaxRows: 2, MaxContext: 400, Slots: 2, MaxRank: 4, PrefixCache: cache})
		for key, scale := range map[string]float64{"one": 1, "two": -2} {
			if err := e.LoadAdapter(t.Context(), key, scaled(t, filepath.Join(dir, "adapter"), scale)); err != nil {
				t.Fatal(err)
			}
		}
		return e
	}
	with, without := open(0), open(-1)
	system := slices.Repeat([]int32{7, 3, 9, 1, 4}, 20)
	for _, key := range []string{"", "one", "two"} {
		prompt := slices.Clone(system)
		for turn := range 4 {
			req := Request{Adapter: key, Prompt: prompt, MaxTokens: 20}
			var got []int32
			finish, err := with.Generate(t.Context(), req, func(token Token) error {
				got = append(got, token.ID)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			// An adapter finds nothing of the base or of another adapter.
			if want := (len(prompt) - 11) / blockTokens * blockTokens; turn > 0 && finish.CachedTokens < want || turn == 0 && finish.CachedTokens != 0 {
				t.Errorf("%q, turn %d: %d of %d tokens were cached", key, turn, finish.CachedTokens, len(prompt))
			}
			if want := collect(t, without, req); !slices.Equal(got, want) {
				t.Errorf("%q, turn %d: %v with the cache, %v without", key, turn, got, want)
			}
			prompt = append(append(prompt, got...), 11, 12, int32(13+turn))
		}
		// Another chat with the same beginning, whose adapter was loaded again under another key.
		again := key
		if key != "" {
			again = key + " again"
			with.UnloadAdapter(key)
			if err := with.LoadAdapter(t.Context(), again, scaled(t, filepath.Join(dir, "adapter"), map[string]float64{"one": 1, "two": -2}[key])); err != nil {
				t.Fatal(err)
			}
		}
		finish, err := with.Generate(t.Context(), Request{Adapter: again, Prompt: append(slices.Clone(system), 40), MaxTokens: 1}, func(Token) error { return nil })
		if err != nil || finish.CachedTokens != 96 {
			t.Errorf("%q: %d tokens of the system prompt were cached (%v)", again, finish.CachedTokens, err)
		}
	}
	if s := without.Stats(); s.CachedTokens != 0 || s.CacheBytes != 0 {
		t.Errorf("an engine without the cache: %+v", s)
	}
}

func TestPrefixesForgetTheOldest(t *testing.T) {
	t.Parallel()
	ids := func(seed, blocks int) []int32 {
		list := make([]int32, blocks*blockTokens+1)
		for i := range list {
			list[i] = int32(seed*1000 + i)
		}
		return list
	}
	const blockBytes = 4 * 10
	p := newPrefixes(4 * blockBytes)
	keep := func(digest string, list []int32) {
		p.keep(digest, list, func(int) []float32 { return make([]float32, 10) })
	}
	found := func(digest string, list []int32) int { return len(p.find(digest, list)) }
	keep("", ids(1, 2))
	keep("a", ids(1, 2))
	if found("a", ids(1, 2)) != 2 || found("", ids(1, 2)) != 2 || found("b", ids(1, 2)) != 0 || found("", ids(2, 2)) != 0 {
		t.Error("what was kept is not found")
	}
	if found("", ids(1, 2)[:2*blockTokens]) != 1 {
		t.Error("one token must be left to compute")
	}
	keep("", ids(2, 1)) // the second block of a's is the oldest
	if found("a", ids(1, 2)) != 1 || found("", ids(1, 2)) != 2 || found("", ids(2, 1)) != 1 || p.bytes != 4*blockBytes {
		t.Errorf("%d blocks of a's, %d bytes", found("a", ids(1, 2)), p.bytes)
	}
	keep("b", ids(3, 9)) // more than there is room for
	if found("b", ids(3, 9)) != 4 || found("", ids(1, 2)) != 0 || p.bytes != 4*blockBytes || len(p.roots) != 1 || p.recent.Len() != 4 {
		t.Errorf("%d blocks, %d bytes, %d roots", found("b", ids(3, 9)), p.bytes, len(p.roots))
	}
}
