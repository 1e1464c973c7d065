package blob_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"descant/pkg/blob"
	"descant/pkg/embedded"
	"descant/pkg/embedded/servertest"
	"descant/pkg/lifecycle"
)

// TestStore runs one suite against both stores that the project ships with.
func TestStore(t *testing.T) {
	t.Run("versitygw", func(t *testing.T) {
		servers, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), NATSAddr: "127.0.0.1:0", S3Addr: "127.0.0.1:0"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := servers.Stop(); err != nil {
				t.Error(err)
			}
		})
		cfg := blob.Defaults()
		cfg.Endpoint, cfg.AccessKey, cfg.SecretKey = servers.Endpoints.S3Endpoint, servers.Endpoints.AccessKey, servers.Endpoints.SecretKey
		conformance(t, cfg)
	})
	t.Run("minio", func(t *testing.T) {
		server := servertest.StartMinIO(t)
		cfg := blob.Defaults()
		cfg.Endpoint, cfg.AccessKey, cfg.SecretKey = server.Endpoint, server.AccessKey, lifecycle.NewSecret(server.SecretKey)
		conformance(t, cfg)
	})
}

func conformance(t *testing.T, cfg blob.Config) {
	s := open(t, cfg)
	open(t, cfg) // the bucket is there already
	prefixed := cfg
	prefixed.Prefix = "team-a/"
	other := open(t, prefixed)

	cases := map[string]func(*testing.T){
		"round trip":         func(t *testing.T) { roundTrip(t, s) },
		"missing":            func(t *testing.T) { missing(t, s) },
		"replace and delete": func(t *testing.T) { replaceAndDelete(t, s) },
		"create only":        func(t *testing.T) { createOnly(t, s) },
		"create race":        func(t *testing.T) { createRace(t, s) },
		"content":            func(t *testing.T) { content(t, s) },
		"multipart content":  func(t *testing.T) { multipart(t, s) },
		"get file":           func(t *testing.T) { getFile(t, s) },
		"list":               func(t *testing.T) { list(t, s) },
		"prefix":             func(t *testing.T) { prefix(t, s, other) },
		"bad keys":           func(t *testing.T) { badKeys(t, s) },
		"credentials":        func(t *testing.T) { badCredentials(t, cfg) },
	}
	t.Run("cases", func(t *testing.T) {
		for name, run := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				run(t)
			})
		}
	})
}

func open(t *testing.T, cfg blob.Config) *blob.Store {
	t.Helper()
	s, err := blob.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *blob.Store, key, text string) {
	t.Helper()
	if err := s.Put(t.Context(), key, strings.NewReader(text), int64(len(text))); err != nil {
		t.Fatal(err)
	}
}

func wantRead(t *testing.T, s *blob.Store, key, want string) {
	t.Helper()
	got, err := s.Read(t.Context(), key, 1<<20)
	if err != nil || string(got) != want {
		t.Errorf("read %s: %q, %v; want %q", key, got, err, want)
	}
}

func wantIs(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error %v, want one that is %q", err, target)
	}
}

func roundTrip(t *testing.T, s *blob.Store) {
	for key, text := range map[string]string{
		"round/trip": "hello", "round/empty": "", "round/ 空格 and 中文+&?%20.bin": "odd key",
	} {
		put(t, s, key, text)
		wantRead(t, s, key, text)
		info, err := s.Stat(t.Context(), key)
		if err != nil || info.Size != int64(len(text)) || info.Key != key || info.Modified.IsZero() {
			t.Errorf("stat %s: %+v, %v", key, info, err)
		}
	}
	if err := s.Put(t.Context(), "round/unknown-size", io.MultiReader(strings.NewReader("ab"), strings.NewReader("c")), -1); err != nil {
		t.Fatal(err)
	}
	wantRead(t, s, "round/unknown-size", "abc")
	if _, err := s.Read(t.Context(), "round/trip", 4); err == nil || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("read over the limit: %v", err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

func missing(t *testing.T, s *blob.Store) {
	_, err := s.Stat(t.Context(), "no/such")
	wantIs(t, err, blob.ErrNotFound)
	_, _, err = s.Get(t.Context(), "no/such")
	wantIs(t, err, blob.ErrNotFound)
	_, err = s.GetContent(t.Context(), blob.Digest([]byte("nobody stored this")), 100)
	wantIs(t, err, blob.ErrNotFound)
	wantIs(t, s.GetFile(t.Context(), "no/such", filepath.Join(t.TempDir(), "f"), ""), blob.ErrNotFound)
	if err := s.Delete(t.Context(), "no/such"); err != nil {
		t.Errorf("delete of nothing: %v", err)
	}
}

func replaceAndDelete(t *testing.T, s *blob.Store) {
	put(t, s, "replace/me", "one")
	put(t, s, "replace/me", "two")
	wantRead(t, s, "replace/me", "two")
	if err := s.Delete(t.Context(), "replace/me"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Stat(t.Context(), "replace/me")
	wantIs(t, err, blob.ErrNotFound)
}

func createOnly(t *testing.T, s *blob.Store) {
	if err := s.PutIfAbsent(t.Context(), "commit/manifest.json", []byte("first")); err != nil {
		t.Fatal(err)
	}
	wantIs(t, s.PutIfAbsent(t.Context(), "commit/manifest.json", []byte("second")), blob.ErrExists)
	wantRead(t, s, "commit/manifest.json", "first")
}

func createRace(t *testing.T, s *blob.Store) {
	var (
		wg   sync.WaitGroup
		wins atomic.Int32
	)
	for i := range 8 {
		wg.Go(func() {
			err := s.PutIfAbsent(t.Context(), "race/manifest.json", []byte{byte('0' + i)})
			if err == nil {
				wins.Add(1)
			} else if !errors.Is(err, blob.ErrExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if wins.Load() != 1 {
		t.Errorf("%d of 8 writers created the same key", wins.Load())
	}
}

func content(t *testing.T, s *blob.Store) {
	text := "content " + t.Name()
	digest, err := s.PutContent(t.Context(), []byte(text))
	if err != nil || digest != blob.Digest([]byte(text)) {
		t.Fatalf("%s, %v", digest, err)
	}
	if again, err := s.PutContent(t.Context(), []byte(text)); err != nil || again != digest {
		t.Errorf("second put: %s, %v", again, err)
	}
	got, err := s.GetContent(t.Context(), digest, 1000)
	if err != nil || string(got) != text {
		t.Errorf("%q, %v", got, err)
	}
	// Somebody damages the blob behind our back.
	key, err := blob.ContentKey(digest)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, key, strings.Repeat("x", len(text)))
	_, err = s.GetContent(t.Context(), digest, 1000)
	wantIs(t, err, blob.ErrDigest)
	file := filepath.Join(t.TempDir(), "damaged")
	wantIs(t, s.GetContentFile(t.Context(), digest, file), blob.ErrDigest)
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 0 {
		t.Errorf("a refused file left %v", left)
	}
	if _, err := blob.ContentKey("sha256:../../etc"); err == nil {
		t.Error("a digest that is none was taken")
	}
}

// multipart sends more than one part (16 MiB) through the checksum trailers.
func multipart(t *testing.T, s *blob.Store) {
	data := make([]byte, 20<<20)
	rng := rand.NewChaCha8([32]byte{1})
	_, _ = rng.Read(data) // never fails
	path := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	digest, size, err := s.PutContentFile(t.Context(), path)
	if err != nil || size != int64(len(data)) {
		t.Fatal(size, err)
	}
	back := filepath.Join(t.TempDir(), "back")
	if err := s.GetContentFile(t.Context(), digest, back); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(back)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
}

func getFile(t *testing.T, s *blob.Store) {
	put(t, s, "file/a", "new")
	path := filepath.Join(t.TempDir(), "deep", "a")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantIs(t, s.GetFile(t.Context(), "file/a", path, blob.Digest([]byte("other"))), blob.ErrDigest)
	if got, _ := os.ReadFile(path); string(got) != "old" {
		t.Errorf("a refused download changed the file to %q", got)
	}
	if err := s.GetFile(t.Context(), "file/a", path, blob.Digest([]byte("new"))); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "new" {
		t.Errorf("file is %q", got)
	}
	if err := s.PutFile(t.Context(), "file/b", path); err != nil {
		t.Fatal(err)
	}
	wantRead(t, s, "file/b", "new")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	wantIs(t, s.GetFile(cancelled, "file/a", path, ""), context.Canceled)
}

func list(t *testing.T, s *blob.Store) {
	for _, key := range []string{"list/b/2", "list/a", "list/b/1", "listing"} {
		put(t, s, key, key)
	}
	infos, err := s.List(t.Context(), "list/")
	var keys []string
	for _, info := range infos {
		keys = append(keys, info.Key)
		if info.Size != int64(len(info.Key)) {
			t.Errorf("%+v", info)
		}
	}
	if want := []string{"list/a", "list/b/1", "list/b/2"}; err != nil || !slices.Equal(keys, want) {
		t.Errorf("%v, %v; want %v", keys, err, want)
	}
	if none, err := s.List(t.Context(), "list/none/"); err != nil || len(none) != 0 {
		t.Errorf("%v, %v", none, err)
	}
}

func prefix(t *testing.T, s, other *blob.Store) {
	put(t, other, "prefix/a", "mine")
	wantRead(t, s, "team-a/prefix/a", "mine")
	infos, err := other.List(t.Context(), "prefix/")
	if err != nil || len(infos) != 1 || infos[0].Key != "prefix/a" {
		t.Errorf("%v, %v", infos, err)
	}
}

func badKeys(t *testing.T, s *blob.Store) {
	for _, key := range []string{"", "/a", "a/", "a//b", "a/../b", ".", "a\\b", "a\nb", strings.Repeat("k", 901)} {
		if err := s.Put(t.Context(), key, strings.NewReader(""), 0); err == nil || !strings.Contains(err.Error(), "bad key") {
			t.Errorf("key %.20q: %v", key, err)
		}
	}
}

func badCredentials(t *testing.T, cfg blob.Config) {
	cfg.SecretKey = lifecycle.NewSecret("wrong-secret")
	_, err := blob.Open(t.Context(), cfg)
	wantIs(t, err, blob.ErrDenied)
	if err != nil && strings.Contains(err.Error(), "wrong-secret") {
		t.Error("the error shows the secret")
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	cfg := blob.Defaults()
	cfg.Endpoint, cfg.AccessKey, cfg.SecretKey = "http://127.0.0.1:1", "a", lifecycle.NewSecret("b")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := blob.Open(ctx, cfg)
	wantIs(t, err, blob.ErrUnavailable)
}

func TestConfig(t *testing.T) {
	t.Parallel()
	err := blob.Config{Endpoint: "127.0.0.1:9000"}.Validate()
	for _, want := range []string{"endpoint", "bucket", "access_key"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}
