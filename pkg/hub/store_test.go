package hub_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"crypto/sha256"
	"encoding/hex"

	"descant/pkg/hub"
)

// folderStore keeps objects as files; the real store has its own tests.
type folderStore struct {
	mu   sync.Mutex
	dir  string
	gets int
}

var errTaken = errors.New("taken")

func (s *folderStore) path(key string) string {
	return filepath.Join(s.dir, strings.ReplaceAll(key, "/", "%"))
}

func (s *folderStore) Read(_ context.Context, key string, _ int64) ([]byte, error) {
	return os.ReadFile(s.path(key))
}

func (s *folderStore) PutIfAbsent(_ context.Context, key string, data []byte) error {
	f, err := os.OpenFile(s.path(key), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return errTaken
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func (s *folderStore) GetFile(_ context.Context, key, path, digest string) error {
	s.mu.Lock()
	s.gets++
	s.mu.Unlock()
	data, err := os.ReadFile(s.path(key))
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(data); digest != "" && digest != "sha256:"+hex.EncodeToString(sum[:]) {
		return errors.New("digest does not match")
	}
	return os.WriteFile(path, data, 0o644)
}

func (s *folderStore) GetContentFile(ctx context.Context, digest, path string) error {
	return s.GetFile(ctx, "blobs/"+digest, path, digest)
}

func (s *folderStore) PutContentFile(_ context.Context, path string) (string, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	if err != nil {
		return "", 0, err
	}
	sum := sha256.Sum256(data)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	return digest, int64(len(data)), os.WriteFile(s.path("blobs/"+digest), data, 0o644)
}

func (s *folderStore) Versions(_ context.Context, prefix string) (map[string]string, error) {
	entries, err := os.ReadDir(s.dir)
	out := map[string]string{}
	for _, e := range entries {
		if key := strings.ReplaceAll(e.Name(), "%", "/"); strings.HasPrefix(key, prefix) {
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			out[key] = info.ModTime().String()
		}
	}
	return out, err
}

func (s *folderStore) Bucket() string { return "descant" }

func TestPushAndFetchByDigest(t *testing.T) {
	t.Parallel()
	store := &folderStore{dir: t.TempDir()}
	here := hub.Options{Config: hub.Config{WorkDir: t.TempDir(), LocalDirs: []string{"/"}}, Store: store}
	s := resolve(t, modelDir(t, true), here)
	for range 2 { // pushing twice is fine
		if err := hub.Push(t.Context(), store, s); err != nil {
			t.Fatal(err)
		}
	}
	list, err := hub.List(t.Context(), store)
	if err != nil || len(list) != 1 || list[0].Digest != s.Digest {
		t.Fatalf("list %+v, %v", list, err)
	}
	there := hub.Options{Config: hub.Config{WorkDir: t.TempDir()}, Store: store}
	got := resolve(t, s.Digest, there)
	if got.Digest != s.Digest || len(got.Files) != len(s.Files) {
		t.Errorf("got %+v", got)
	}
	gets := store.gets
	resolve(t, s.Digest, there)
	if store.gets != gets {
		t.Error("fetched again")
	}
	absent := "sha256:" + strings.Repeat("0", 64)
	if _, err := hub.Resolve(t.Context(), absent, there); !errors.Is(err, hub.ErrNotFound) {
		t.Errorf("error is %v", err)
	}
	for _, f := range s.Files {
		if f.Name == "config.json" {
			if err := os.WriteFile(store.path("blobs/sha256:"+f.SHA256), []byte("changed"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	there.WorkDir = t.TempDir()
	if _, err := hub.Resolve(t.Context(), s.Digest, there); err == nil {
		t.Error("a damaged object was accepted")
	}
}

func TestPlainFolderOfTheStore(t *testing.T) {
	t.Parallel()
	store := &folderStore{dir: t.TempDir()}
	dir := modelDir(t, false)
	for _, name := range []string{"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "pytorch_model.bin"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(store.path("bases/mine/"+name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	opts := hub.Options{Config: hub.Config{WorkDir: t.TempDir(), LocalDirs: []string{"/"}}, Store: store}
	s := resolve(t, "s3://descant/bases/mine/", opts)
	if s.Digest != resolve(t, dir, opts).Digest {
		t.Error("the folder of the store has another digest than the local one")
	}
	gets := store.gets
	resolve(t, "s3://descant/bases/mine", opts)
	if store.gets != gets {
		t.Error("fetched again")
	}
	for _, ref := range []string{"s3://other/bases/mine", "s3://descant"} {
		if _, err := hub.Resolve(t.Context(), ref, opts); !errors.Is(err, hub.ErrInvalid) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := hub.Resolve(t.Context(), "s3://descant/nothing", opts); !errors.Is(err, hub.ErrNotFound) {
		t.Errorf("error is %v", err)
	}
}
