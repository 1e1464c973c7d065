package hub_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"descant/pkg/hub"
	"descant/pkg/hub/hubtest"
	"descant/pkg/lifecycle"
)

// scopeWorld is a world whose names are those of ModelScope.
func scopeWorld(t *testing.T, r hubtest.Repo) *world {
	t.Helper()
	w := newWorld(t, r)
	w.opts.ModelScope, w.opts.ModelScopeEndpoint = true, w.opts.Endpoint
	w.opts.Endpoint = "http://127.0.0.1:1" // the other hub must not be asked
	return w
}

func TestModelScope(t *testing.T) {
	t.Parallel()
	for _, sharded := range []bool{false, true} {
		dir := modelDir(t, sharded)
		w := scopeWorld(t, hubtest.Repo{Dir: dir, Large: 50_000, Gated: true})
		w.opts.ModelScopeToken = lifecycle.NewSecret("hf_secret")
		w.opts.Token = lifecycle.NewSecret("of the other hub")
		var mu sync.Mutex
		var last hub.Progress
		w.opts.Progress = func(p hub.Progress) { mu.Lock(); last = p; mu.Unlock() }
		s := resolve(t, repo, w.opts)
		local := resolve(t, dir, w.opts)
		if s.Digest != local.Digest || s.Name != repo || len(s.Revision) != 40 || !strings.HasPrefix(s.Dir, filepath.Join(w.opts.CacheDir, "modelscope--org--tiny", "snapshots")) {
			t.Errorf("snapshot %+v, digest of the folder %s", s, local.Digest)
		}
		if last.Done != last.Total || last.Total < 100_000 {
			t.Errorf("progress ended at %+v", last)
		}
		if w.server.TokenLeaked() {
			t.Error("the token went to the CDN")
		}
		w.opts.Offline, w.opts.ModelScopeEndpoint = true, "http://127.0.0.1:1"
		if again := resolve(t, repo, w.opts); again.Digest != s.Digest || again.Revision != s.Revision {
			t.Errorf("offline %+v", again)
		}
		w.opts.Offline = false
		if again := resolve(t, repo, w.opts); again.Digest != s.Digest || !strings.Contains(again.Note, "does not answer") {
			t.Errorf("without a network %+v", again)
		}
		if list, err := hub.Cached(w.opts.Config); err != nil || len(list) != 1 || list[0].Name != repo {
			t.Errorf("cached %+v, %v", list, err)
		}
	}
}

func TestModelScopeGoesOnWhereItBroke(t *testing.T) {
	t.Parallel()
	w := scopeWorld(t, hubtest.Repo{Dir: modelDir(t, false), Large: 50_000})
	w.server.BreakAfter("model.safetensors", 30_000, 2)
	w.server.Damage("tokenizer.json", 1)
	resolve(t, repo, w.opts)
	if log := strings.Join(w.server.Requests(), "\n"); !strings.Contains(log, "bytes=30000-") || !strings.Contains(log, "bytes=60000-") {
		t.Errorf("the requests were\n%s", log)
	}
	w = scopeWorld(t, hubtest.Repo{Dir: modelDir(t, false)})
	w.server.Damage("config.json", 10)
	if _, err := hub.Resolve(t.Context(), repo, w.opts); !errors.Is(err, hub.ErrUnavailable) || !strings.Contains(err.Error(), "arrives damaged") {
		t.Errorf("damaged twice: %v", err)
	}
}

func TestModelScopeRefusals(t *testing.T) {
	t.Parallel()
	gated := scopeWorld(t, hubtest.Repo{Dir: modelDir(t, false), Gated: true})
	open := scopeWorld(t, hubtest.Repo{Dir: modelDir(t, false)})
	bare := modelDir(t, false)
	if err := os.Remove(filepath.Join(bare, "tokenizer.json")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ref  string
		w    *world
		kind error
		says string
	}{
		{repo, gated, hub.ErrDenied, "MODELSCOPE_API_TOKEN"},
		{"org/other", open, hub.ErrNotFound, "no such repository or revision on ModelScope"},
		{repo + "@v9", open, hub.ErrNotFound, "org/tiny@v9"},
		{repo, scopeWorld(t, hubtest.Repo{Dir: bare}), hub.ErrInvalid, "no tokenizer.json"},
	} {
		if _, err := hub.Resolve(t.Context(), c.ref, c.w.opts); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.ref, err, c.says)
		}
	}
	open.opts.ModelScopeEndpoint = "http://127.0.0.1:1"
	if _, err := hub.Resolve(t.Context(), repo, open.opts); !errors.Is(err, hub.ErrUnavailable) || !strings.Contains(err.Error(), "cannot reach http://127.0.0.1:1") {
		t.Errorf("no server: %v", err)
	}
}

func TestModelScopeFromTheEnvironment(t *testing.T) {
	for name, value := range map[string]string{"USE_MODELSCOPE_HUB": "1", "MODELSCOPE_DOMAIN": "mirror.example", "MODELSCOPE_API_TOKEN": "secret"} {
		t.Setenv(name, value)
	}
	cfg := hub.Defaults()
	if !cfg.ModelScope || cfg.ModelScopeEndpoint != "https://mirror.example" || cfg.ModelScopeToken.Reveal() != "secret" {
		t.Errorf("configuration %+v", cfg)
	}
}
