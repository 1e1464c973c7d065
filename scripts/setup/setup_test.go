package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func archive(t *testing.T, name string, content []byte) (packed []byte, digest string) {
	t.Helper()
	var buffer bytes.Buffer
	zipped := gzip.NewWriter(&buffer)
	files := tar.NewWriter(zipped)
	if err := files.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(buffer.Bytes())
	return buffer.Bytes(), hex.EncodeToString(sum[:])
}

func TestReleaseArchiveIsUsedOnlyWithItsDigest(t *testing.T) {
	t.Parallel()
	packed, digest := archive(t, "./libtokenizers.a", []byte("library"))
	got, err := unpackRelease(packed, digest)
	if err != nil || string(got) != "library" {
		t.Fatalf("got %q, %v", got, err)
	}
	packed[len(packed)-1] ^= 1
	if _, err := unpackRelease(packed, digest); err == nil || !strings.Contains(err.Error(), "not what was pinned") {
		t.Errorf("a changed archive gave %v", err)
	}
	packed, digest = archive(t, "README", nil)
	if _, err := unpackRelease(packed, digest); err == nil || !strings.Contains(err.Error(), "libtokenizers.a is not in it") {
		t.Errorf("an archive without the library gave %v", err)
	}
}

func TestGivenLibrary(t *testing.T) {
	given := filepath.Join(t.TempDir(), "lib.a")
	t.Setenv("DESCANT_TOKENIZERS_LIB", given)
	cache := t.TempDir()
	say := func(string) {}
	for name, c := range map[string]struct{ content, want string }{
		"absent":        {"", "mend or unset"},
		"other version": {"tokenizers_version_0_9_0", "another version"},
	} {
		if c.content != "" {
			if err := os.WriteFile(given, []byte(c.content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := installTokenizers(context.Background(), cache, say); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
		if left, _ := filepath.Glob(filepath.Join(cache, "native", "*", "*")); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
		_ = os.Remove(given)
	}
	if err := os.WriteFile(given, []byte("x "+tokenizersSymbol), 0o644); err != nil {
		t.Fatal(err)
	}
	path, err := installTokenizers(context.Background(), cache, say)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || !strings.Contains(string(data), tokenizersSymbol) {
		t.Errorf("placed %q, %v", data, err)
	}
}

func TestRustupHomeIsThatOfCargo(t *testing.T) {
	account, other := t.TempDir(), t.TempDir()
	cargo := filepath.Join(account, ".cargo", "bin", "cargo")
	toolchains := filepath.Join(account, ".rustup")
	if err := os.Mkdir(toolchains, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, cargo, home, rustup, want string }{
		{"another HOME", cargo, other, "", toolchains},
		{"its own HOME", cargo, account, "", ""},
		{"RUSTUP_HOME is set", cargo, other, other, ""},
		{"cargo is not rustup's", "/usr/bin/cargo", other, "", ""},
		{"no toolchains there", filepath.Join(other, ".cargo", "bin", "cargo"), t.TempDir(), "", ""},
	} {
		t.Setenv("HOME", test.home)
		t.Setenv("RUSTUP_HOME", test.rustup)
		if got := rustupHome(test.cargo); got != test.want {
			t.Errorf("%s: %q, not %q", test.name, got, test.want)
		}
	}
}

func TestUnknownSourceIsRefused(t *testing.T) {
	t.Setenv("DESCANT_TOKENIZERS_SOURCE", "magic")
	if _, err := installTokenizers(context.Background(), t.TempDir(), func(string) {}); err == nil ||
		!strings.Contains(err.Error(), "release or cargo") {
		t.Errorf("got %v", err)
	}
}

func TestExportsNameTheLibrary(t *testing.T) {
	t.Parallel()
	got := exports("/some/cache")
	for _, want := range []string{`export DESCANT_CACHE="/some/cache"`, `export CGO_LDFLAGS="-L/some/cache/native/tokenizers-1.26.0"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}
