package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"time"
)

const (
	tokenizersModule = "github.com/daulet/tokenizers"
	// tokenizersABI is the version in the symbol that the Go module links against; releases keep it while the
	// crate's interface stays as it is.
	tokenizersABI     = "1.26.0"
	tokenizersRelease = "v1.27.0"
	tokenizersSymbol  = "tokenizers_version_1_26_0"
	// releaseHost is tried for at most releaseWait before cargo takes over.
	releaseURL  = "https://github.com/daulet/tokenizers/releases/download/" + tokenizersRelease + "/"
	releaseWait = 3 * time.Minute
	maxLibrary  = 512 << 20
)

// cargoLock pins every crate, with its checksum, of the build in which tiktoken-rs comes from the crate registry.
//
//go:embed Cargo.lock
var cargoLock []byte

// releaseArchives are the published builds whose sha256 is known.
var releaseArchives = map[string]struct{ file, sha256 string }{
	"linux/amd64": {"libtokenizers.linux-x86_64.tar.gz", "72556cdca798dd4ea7cdaba308e5f0d68a8cb93b67c96edf485b7a0edd7b07f4"},
	"linux/arm64": {"libtokenizers.linux-arm64.tar.gz", "e96545ad05930c26f51f63d932ee6d3bbd32bbed149e102c5290d587a2293067"},
}

func tokenizersLib(cache string) string {
	return filepath.Join(cache, "native", "tokenizers-"+tokenizersABI, "libtokenizers.a")
}

// installTokenizers puts libtokenizers.a into the cache: from DESCANT_TOKENIZERS_LIB, the release archive, or cargo.
func installTokenizers(ctx context.Context, cache string, say func(string)) (string, error) {
	target := tokenizersLib(cache)
	if _, err := os.Stat(target); err == nil {
		return target, nil
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return "", fmt.Errorf("%w: make the folder writable, or set DESCANT_CACHE to another", err)
	}
	if given := os.Getenv("DESCANT_TOKENIZERS_LIB"); given != "" {
		library, err := os.ReadFile(given)
		if err != nil {
			return "", fmt.Errorf("DESCANT_TOKENIZERS_LIB: %w: mend or unset it", err)
		}
		return target, placeLibrary(library, target)
	}
	source := os.Getenv("DESCANT_TOKENIZERS_SOURCE")
	if source != "" && source != "release" && source != "cargo" {
		return "", fmt.Errorf("DESCANT_TOKENIZERS_SOURCE is %q: set it to release or cargo, or unset it", source)
	}
	var tried []error
	if source != "cargo" {
		library, err := downloadRelease(ctx, say)
		if err == nil {
			return target, placeLibrary(library, target)
		}
		tried = append(tried, err)
		say(err.Error())
	}
	if source != "release" && ctx.Err() == nil {
		library, err := buildWithCargo(ctx, cache, say)
		if err == nil {
			return target, placeLibrary(library, target)
		}
		tried = append(tried, err)
	}
	return "", errors.Join(tried...)
}

// placeLibrary checks the version symbol, which the Go linker would otherwise miss with a cryptic message, and
// makes the library appear under its name whole.
func placeLibrary(library []byte, target string) error {
	if !bytes.Contains(library, []byte(tokenizersSymbol)) {
		return fmt.Errorf("the library lacks the symbol %s: it belongs to another version of %s", tokenizersSymbol, tokenizersModule)
	}
	temp, err := os.CreateTemp(filepath.Dir(target), ".part-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(library)
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w: is the disk full?", target, err)
	}
	return os.Rename(temp.Name(), target)
}

func downloadRelease(ctx context.Context, say func(string)) ([]byte, error) {
	archive, ok := releaseArchives[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return nil, fmt.Errorf("no release archive with a known sha256 for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	ctx, cancel := context.WithTimeout(ctx, releaseWait)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, releaseURL+archive.file, nil)
	if err != nil {
		return nil, err
	}
	say("downloading the release archive")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("the release archive cannot be had (%w)", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the release archive cannot be had (%s)", response.Status)
	}
	packed, err := io.ReadAll(io.LimitReader(response.Body, maxLibrary))
	if err != nil {
		return nil, fmt.Errorf("the release archive broke off (%w)", err)
	}
	return unpackRelease(packed, archive.sha256)
}

// unpackRelease checks the archive against its pinned digest before it looks inside.
func unpackRelease(packed []byte, want string) ([]byte, error) {
	if sum := sha256.Sum256(packed); hex.EncodeToString(sum[:]) != want {
		return nil, fmt.Errorf("the release archive has sha256 %x, not %s: it is not what was pinned and is not used", sum, want)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack the release archive: %w", err)
	}
	for files := tar.NewReader(unzipped); ; {
		header, err := files.Next()
		if err != nil {
			return nil, fmt.Errorf("unpack the release archive: libtokenizers.a is not in it: %w", err)
		}
		if filepath.Base(header.Name) == "libtokenizers.a" {
			return io.ReadAll(io.LimitReader(files, maxLibrary))
		}
	}
}

// buildWithCargo builds the crate that lies in the Go module's own folder. Its one git dependency is replaced by
// the same crate of the registry, pinned by cargoLock, since a git host may be out of reach where cargo is not.
func buildWithCargo(ctx context.Context, cache string, say func(string)) ([]byte, error) {
	cargo, err := exec.LookPath("cargo")
	if err != nil {
		return nil, errors.New("cargo, which would build it, is not installed: install Rust (rustup) and run this again, " +
			"or name a libtokenizers.a in DESCANT_TOKENIZERS_LIB")
	}
	if _, err := exec.LookPath("cc"); err != nil {
		return nil, errors.New("there is no C compiler (cc): install gcc or clang and run this again")
	}
	source, err := moduleDir(ctx, tokenizersModule)
	if err != nil {
		return nil, err
	}
	work, err := os.MkdirTemp(cache, "build-tokenizers-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := copyWritable(source, work); err != nil {
		return nil, fmt.Errorf("copy the crate: %w", err)
	}
	manifest := filepath.Join(work, "crates", "tokenizers", "Cargo.toml")
	text, err := os.ReadFile(manifest)
	if err != nil {
		return nil, err
	}
	replaced := regexp.MustCompile(`(?m)^tiktoken-rs = .*$`).ReplaceAll(text, []byte(`tiktoken-rs = "=0.9.1"`))
	if err := errors.Join(os.WriteFile(manifest, replaced, 0o644),
		os.WriteFile(filepath.Join(work, "Cargo.lock"), cargoLock, 0o644)); err != nil {
		return nil, err
	}
	say("building it with cargo (about two minutes on two cores)")
	var output tailWriter
	build := exec.CommandContext(ctx, cargo, "build", "--release", "--locked", "-p", "tokenizers-ffi")
	build.Dir, build.Stdout = work, &output
	if home := rustupHome(cargo); home != "" {
		build.Env = append(os.Environ(), "RUSTUP_HOME="+home)
	}
	build.Stderr = io.MultiWriter(&output, &progressWriter{say: say})
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("cargo build failed (%w); it ended with:\n%s\n(no network to the crate registry, or an old Rust or "+
			"none: `rustup update stable`?)", err, output.String())
	}
	return os.ReadFile(filepath.Join(work, "target", "release", "libtokenizers_ffi.a"))
}

// rustupHome is the folder of toolchains beside the .cargo/bin that cargo is in, where neither RUSTUP_HOME nor HOME leads rustup to
// one: with another HOME than that of its installation rustup would want to download a toolchain anew. Otherwise it is empty.
func rustupHome(cargo string) string {
	bin := filepath.Dir(cargo)
	if os.Getenv("RUSTUP_HOME") != "" || filepath.Base(bin) != "bin" || filepath.Base(filepath.Dir(bin)) != ".cargo" {
		return ""
	}
	if _, err := os.Stat(filepath.Join(os.Getenv("HOME"), ".rustup")); err == nil {
		return ""
	}
	home := filepath.Join(filepath.Dir(filepath.Dir(bin)), ".rustup")
	if _, err := os.Stat(home); err != nil {
		return ""
	}
	return home
}

// moduleDir is the folder of a module in Go's module cache, downloaded where needed.
func moduleDir(ctx context.Context, module string) (string, error) {
	output, err := exec.CommandContext(ctx, "go", "mod", "download", "-json", module).Output()
	var info struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(output, &info); jsonErr == nil && info.Error != "" {
		return "", fmt.Errorf("download the Go module %s: %s", module, info.Error)
	}
	if err != nil {
		return "", fmt.Errorf("download the Go module %s: %w", module, err)
	}
	return info.Dir, nil
}

// copyWritable copies a folder of the read-only module cache so that it can be built in.
func copyWritable(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o644)
	})
}
