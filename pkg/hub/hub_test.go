package hub_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"descant/pkg/hub"
	"descant/pkg/hub/hubtest"
	"descant/pkg/lifecycle"
	"descant/pkg/safetensors"
)

const repo = "org/tiny"

// modelDir makes a model folder: one weights file, or two shards, and files that no one needs.
func modelDir(t *testing.T, sharded bool) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("config.json", `{"model_type":"qwen2"}`)
	write("tokenizer.json", `{"version":"1.0","filler":"`+strings.Repeat("x", 5000)+`"}`)
	write("tokenizer_config.json", `{}`)
	write("README.md", "not needed")
	write("pytorch_model.bin", "a pickle, never fetched")
	save := func(name, tensor string) {
		data := []byte(strings.Repeat(tensor+"...", 25_000))
		err := safetensors.Write(filepath.Join(dir, name), []safetensors.Tensor{
			{Name: tensor, DType: safetensors.U8, Shape: []int{len(data)}, Data: data}}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	if !sharded {
		save("model.safetensors", "a")
		return dir
	}
	save("model-1.safetensors", "a")
	save("model-2.safetensors", "b")
	save("other.safetensors", "c")
	write("model.safetensors.index.json", `{"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}}`)
	return dir
}

// world is a hub with its CDN on another address, and options that talk to it.
type world struct {
	server *hubtest.Server
	opts   hub.Options
}

func newWorld(t *testing.T, r hubtest.Repo) *world {
	t.Helper()
	server := &hubtest.Server{Repos: map[string]hubtest.Repo{repo: r}, Token: "hf_secret"}
	cdn := httptest.NewServer(server)
	t.Cleanup(cdn.Close)
	server.CDN = cdn.URL
	front := httptest.NewServer(server)
	t.Cleanup(front.Close)
	dir := t.TempDir()
	return &world{server: server, opts: hub.Options{Config: hub.Config{
		Endpoint: front.URL, CacheDir: filepath.Join(dir, "hub"), WorkDir: filepath.Join(dir, "work"), LocalDirs: []string{"/"},
	}}}
}

func resolve(t *testing.T, ref string, opts hub.Options) *hub.Snapshot {
	t.Helper()
	s, err := hub.Resolve(t.Context(), ref, opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDownloadInThePlacesOfPython(t *testing.T) {
	t.Parallel()
	dir := modelDir(t, false)
	w := newWorld(t, hubtest.Repo{Dir: dir, Large: 50_000})
	w.opts.Token = lifecycle.NewSecret("hf_secret")
	var mu sync.Mutex
	var last hub.Progress
	w.opts.Progress = func(p hub.Progress) { mu.Lock(); last = p; mu.Unlock() }
	s := resolve(t, repo, w.opts)

	commit := hubtest.Commit(repo)
	root := filepath.Join(w.opts.CacheDir, "models--org--tiny")
	if s.Dir != filepath.Join(root, "snapshots", commit) || s.Revision != commit || s.Name != repo {
		t.Errorf("snapshot %+v", s)
	}
	if text, err := os.ReadFile(filepath.Join(root, "refs", "main")); err != nil || string(text) != commit {
		t.Errorf("refs/main is %q, %v", text, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(raw)
	target, err := os.Readlink(filepath.Join(s.Dir, "model.safetensors"))
	if err != nil || target != "../../blobs/"+hex.EncodeToString(sum[:]) {
		t.Errorf("weights link to %q, %v", target, err)
	}
	if target, err := os.Readlink(filepath.Join(s.Dir, "tokenizer_config.json")); err != nil || target != "../../blobs/9e26dfeeb6e641a33dae4961196235bdb965b21b" {
		t.Errorf("tokenizer_config.json links to %q, %v; git's hash of {} is 9e26dfee…", target, err)
	}
	for _, name := range []string{"pytorch_model.bin", "README.md"} {
		if _, err := os.Lstat(filepath.Join(s.Dir, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s was fetched", name)
		}
	}
	if w.server.TokenLeaked() {
		t.Error("the token was sent to another host")
	}
	if last.Done != last.Total || last.Total < int64(len(raw)) {
		t.Errorf("progress ends with %+v", last)
	}
	if local := resolve(t, dir, w.opts); local.Digest != s.Digest {
		t.Errorf("the folder has digest %s, its download %s", local.Digest, s.Digest)
	}

	before := len(w.server.Requests())
	if again := resolve(t, repo, w.opts); again.Digest != s.Digest {
		t.Error("another digest the second time")
	}
	if n := len(w.server.Requests()) - before; n != 1 {
		t.Errorf("%d requests for a model in the cache, want the listing only", n)
	}
	offline := w.opts
	offline.Offline, offline.Endpoint = true, "http://127.0.0.1:1"
	if s := resolve(t, repo+"@"+commit, offline); s.Revision != commit {
		t.Errorf("offline: %+v", s)
	}
}

func TestShardsOfTheIndexOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hubtest.Repo{Dir: modelDir(t, true), Large: 50_000, Revisions: []string{"main", "v1"}})
	s := resolve(t, repo+"@v1", w.opts)
	var names []string
	for _, f := range s.Files {
		names = append(names, f.Name)
	}
	want := "config.json model-1.safetensors model-2.safetensors model.safetensors.index.json tokenizer.json tokenizer_config.json"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("files %s\nwant  %s", got, want)
	}
}

func TestBrokenConnectionsAreContinued(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hubtest.Repo{Dir: modelDir(t, false), Large: 50_000})
	w.server.BreakAfter("model.safetensors", 30_000, 2)
	resolve(t, repo, w.opts)
	var ranges []string
	for _, r := range w.server.Requests() {
		if strings.Contains(r, "/cdn/") {
			_, after, _ := strings.Cut(r, "bytes=")
			ranges = append(ranges, after)
		}
	}
	if len(ranges) != 3 || ranges[0] != "" || ranges[1] == "" || ranges[2] == "" || ranges[1] == ranges[2] {
		t.Errorf("ranges %q: want a whole request and two that go on", ranges)
	}
}

func TestInterruptedDownloadIsResumedByTheNextRun(t *testing.T) {
	t.Parallel()
	dir := modelDir(t, false)
	w := newWorld(t, hubtest.Repo{Dir: dir, Large: 50_000})
	w.server.BreakAfter("model.safetensors", 60_000, 1)
	ctx, cancel := context.WithCancel(t.Context())
	first := w.opts
	first.Progress = func(p hub.Progress) {
		if p.File == "model.safetensors" && p.Done > 60_000 {
			cancel()
		}
	}
	if _, err := hub.Resolve(ctx, repo, first); !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v", err)
	}
	parts, _ := filepath.Glob(filepath.Join(w.opts.CacheDir, "models--org--tiny", "blobs", "*.incomplete"))
	if len(parts) != 1 {
		t.Fatalf("incomplete blobs: %v", parts)
	}
	before := len(w.server.Requests())
	resolve(t, repo, w.opts)
	var resumed bool
	for _, r := range w.server.Requests()[before:] {
		resumed = resumed || strings.Contains(r, "/cdn/") && strings.Contains(r, "bytes=")
	}
	if !resumed {
		t.Errorf("not resumed: %q", w.server.Requests()[before:])
	}
}

func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	t.Run("once", func(t *testing.T) {
		w := newWorld(t, hubtest.Repo{Dir: modelDir(t, false), Large: 50_000})
		w.server.Damage("model.safetensors", 1)
		w.server.Damage("config.json", 1)
		resolve(t, repo, w.opts)
	})
	for _, file := range []string{"model.safetensors", "tokenizer.json"} {
		t.Run(file, func(t *testing.T) {
			w := newWorld(t, hubtest.Repo{Dir: modelDir(t, false), Large: 50_000})
			w.server.Damage(file, 9)
			_, err := hub.Resolve(t.Context(), repo, w.opts)
			if err == nil || !strings.Contains(err.Error(), file+" arrives damaged") {
				t.Fatalf("error is %v", err)
			}
			if left, _ := filepath.Glob(filepath.Join(w.opts.CacheDir, "*", "snapshots", "*", file)); len(left) != 0 {
				t.Errorf("a damaged file is in the snapshot: %v", left)
			}
		})
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	dir := modelDir(t, false)
	bare := t.TempDir()
	if err := os.WriteFile(filepath.Join(bare, "config.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	table := map[string]struct {
		repo  hubtest.Repo
		ref   string
		token string
		edit  func(*hub.Options)
		kind  error
		say   string
	}{
		"no such repository": {ref: "org/absent", kind: hub.ErrNotFound, say: "Check the spelling"},
		"no such revision":   {repo: hubtest.Repo{Dir: dir}, ref: repo + "@v9", kind: hub.ErrNotFound, say: "no revision v9"},
		"private":            {repo: hubtest.Repo{Dir: dir, Private: true}, ref: repo, kind: hub.ErrNotFound, say: "set HF_TOKEN"},
		"gated":              {repo: hubtest.Repo{Dir: dir, Gated: true}, ref: repo, kind: hub.ErrDenied, say: "Accept its conditions"},
		"gated, bad token":   {repo: hubtest.Repo{Dir: dir, Gated: true}, ref: repo, token: "bad", kind: hub.ErrDenied, say: "Accept its conditions"},
		"files missing":      {repo: hubtest.Repo{Dir: bare}, ref: repo, kind: hub.ErrInvalid, say: "no tokenizer.json, no model.safetensors"},
		"nobody listens": {ref: repo, kind: hub.ErrUnavailable, say: "set HF_ENDPOINT to a mirror",
			edit: func(o *hub.Options) { o.Endpoint = "http://127.0.0.1:1" }},
		"offline":       {ref: repo, kind: hub.ErrNotFound, say: "Unset HF_HUB_OFFLINE", edit: func(o *hub.Options) { o.Offline = true }},
		"malformed":     {ref: "a/b/c", kind: hub.ErrInvalid, say: "neither a folder"},
		"climbing":      {ref: "a/..", kind: hub.ErrInvalid, say: "neither a folder"},
		"bad revision":  {ref: repo + "@../../x", kind: hub.ErrInvalid, say: "neither a folder"},
		"empty":         {ref: "", kind: hub.ErrInvalid, say: "no model is named"},
		"no folder":     {ref: "/nowhere/at/all", kind: hub.ErrNotFound, say: "no such folder"},
		"closed folder": {ref: dir, kind: hub.ErrInvalid, say: "hub.local_dirs", edit: func(o *hub.Options) { o.LocalDirs = nil }},
		"no builtin":    {ref: "builtin:huge", kind: hub.ErrNotFound, say: "no built-in model"},
		"no store":      {ref: "s3://b/x", kind: hub.ErrInvalid, say: "no object store"},
		"empty folder":  {ref: t.TempDir(), kind: hub.ErrInvalid, say: "missing config.json, tokenizer.json, model.safetensors"},
	}
	for name, c := range table {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.repo)
			if c.repo.Dir == "" {
				delete(w.server.Repos, repo)
			}
			w.opts.Token = lifecycle.NewSecret(c.token)
			if c.edit != nil {
				c.edit(&w.opts)
			}
			_, err := hub.Resolve(t.Context(), c.ref, w.opts)
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.say) {
				t.Errorf("error is %v\nwant %v and %q in it", err, c.kind, c.say)
			}
		})
	}
}

func TestUnreachableHubFallsBackToTheCache(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hubtest.Repo{Dir: modelDir(t, false)})
	want := resolve(t, repo, w.opts)
	w.opts.Endpoint = "http://127.0.0.1:1"
	s := resolve(t, repo, w.opts)
	if s.Digest != want.Digest || !strings.Contains(s.Note, "does not answer") {
		t.Errorf("snapshot %+v", s)
	}
}

func TestLinksDoNotLeadOutOfAllowedFolders(t *testing.T) {
	t.Parallel()
	outside, inside := modelDir(t, false), t.TempDir()
	link := filepath.Join(inside, "model")
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	opts := hub.Options{Config: hub.Config{WorkDir: t.TempDir(), LocalDirs: []string{inside}}}
	if _, err := hub.Resolve(t.Context(), link, opts); !errors.Is(err, hub.ErrInvalid) {
		t.Errorf("error is %v", err)
	}
	opts.LocalDirs = []string{outside}
	resolve(t, outside, opts)
}

func TestBuiltin(t *testing.T) {
	t.Parallel()
	dir := modelDir(t, false)
	source := fstest.MapFS{}
	for _, name := range []string{"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "README.md"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		source[name] = &fstest.MapFile{Data: data}
	}
	opts := hub.Options{Config: hub.Config{WorkDir: t.TempDir(), LocalDirs: []string{"/"}}, Builtin: map[string]fs.FS{"small": source}}
	first := resolve(t, "builtin:small", opts)
	if err := os.WriteFile(filepath.Join(first.Dir, "config.json"), []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	second := resolve(t, "builtin:small", opts)
	if first.Dir != second.Dir || second.Digest != resolve(t, dir, opts).Digest {
		t.Errorf("%+v\n%+v", first, second)
	}
	if text, _ := os.ReadFile(filepath.Join(second.Dir, "config.json")); string(text) == "damaged" {
		t.Error("the damaged copy was kept")
	}
}

func TestMirrorThatServesLargeFilesItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hubtest.Repo{Dir: modelDir(t, false), Large: 50_000})
	w.server.CDN = ""
	w.server.Damage("model.safetensors", 1)
	s := resolve(t, repo, w.opts)
	if target, err := os.Readlink(filepath.Join(s.Dir, "model.safetensors")); err != nil || len(filepath.Base(target)) != 64 {
		t.Errorf("weights link to %q, %v: the hash was not checked", target, err)
	}
}
