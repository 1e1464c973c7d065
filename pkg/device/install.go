package device

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/gomlx/go-xla/installer"
	"golang.org/x/sys/unix"
)

const (
	xlaCPUPackage = "xla-cpu-pjrt"
	xlaCPUVersion = "0.0.1"
	xlaCPULibrary = "xla_cpu_pjrt.so"
	// xlaCPUBytes is what the unpacked library and the wheel beside it need on the disk, rounded up.
	xlaCPUBytes = 400 << 20
)

// wheel is the one file of the Python package for a platform.
type wheel struct {
	// platform is a part of the file's name.
	platform string
	// sha256 of the wheel, hexadecimal.
	sha256 string
}

// xlaCPUWheel gives the pinned wheel for an operating system and architecture as Go names them.
func xlaCPUWheel(goos, goarch string) (wheel, error) {
	switch goos + "/" + goarch {
	case "linux/amd64":
		return wheel{platform: "x86_64", sha256: "55837b6b7b47daa717f2d9a5a03563ea0ceaa338d06a81a1e2d3f060d960decc"}, nil
	case "linux/arm64":
		return wheel{platform: "aarch64", sha256: "8f613be6e891858f40d64f9799319502fff42689661944fc18a6ffd8210b30c9"}, nil
	}
	return wheel{}, fmt.Errorf("install the XLA CPU plugin: %s %s publishes nothing for %s/%s (only linux/amd64 and "+
		"linux/arm64): use the pure-Go device (`--device go`), or build a plugin and name it in DESCANT_XLA_PLUGIN",
		xlaCPUPackage, xlaCPUVersion, goos, goarch)
}

// InstallXLACPU brings the XLA CPU plugin into cacheDir and returns its absolute path.
//
// It does nothing if the file is there: the file appears under its name only after the wheel's sha256 was checked
// and its content synced. The wheel comes from the Python package index, or from the file that the environment
// variable DESCANT_XLA_WHEEL names. progress, if not nil, is called with one line for each thing that is done.
// Cancelling ctx ends the call; a download under way is then dropped when it ends by itself.
func InstallXLACPU(ctx context.Context, cacheDir string, progress func(line string)) (string, error) {
	if progress == nil {
		progress = func(string) {}
	}
	if cacheDir == "" {
		return "", errors.New("install the XLA CPU plugin: no cache folder is known: set DESCANT_CACHE to a folder")
	}
	path := XLACPUPlugin(absolute(cacheDir))
	if isFile(path) {
		progress("XLA CPU plugin is there: " + path)
		return path, nil
	}
	pinned, err := xlaCPUWheel(runtime.GOOS, runtime.GOARCH)
	if err != nil {
		return "", err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("install the XLA CPU plugin: %w: make the folder writable or set DESCANT_CACHE to another", err)
	}
	if err := enoughDisk(dir, xlaCPUBytes); err != nil {
		return "", err
	}
	file, remove, err := fetchWheel(ctx, pinned, progress)
	if err != nil {
		return "", err
	}
	defer remove()
	if err := checkSHA256(file, pinned.sha256); err != nil {
		return "", err
	}
	progress("unpack " + xlaCPULibrary)
	if err := unpack(file, path); err != nil {
		return "", err
	}
	progress("XLA CPU plugin installed: " + path)
	return path, nil
}

// fetchWheel gives the local file of the wheel and a function that removes it if it is a temporary one.
func fetchWheel(ctx context.Context, pinned wheel, progress func(string)) (string, func(), error) {
	if file := os.Getenv("DESCANT_XLA_WHEEL"); file != "" {
		if !isFile(file) {
			return "", nil, fmt.Errorf("install the XLA CPU plugin: DESCANT_XLA_WHEEL names %s, which is not a file: mend "+
				"or unset it", file)
		}
		progress("use the wheel " + file)
		return file, func() {}, nil
	}
	type result struct {
		file string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		file, err := download(ctx, pinned, progress)
		done <- result{file, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return "", nil, r.err
		}
		return r.file, func() { os.Remove(r.file) }, nil
	case <-ctx.Done():
		go func() {
			if r := <-done; r.file != "" {
				os.Remove(r.file)
			}
		}()
		return "", nil, fmt.Errorf("install the XLA CPU plugin: %w", context.Cause(ctx))
	}
}

// offlineHint ends every message about a download that failed.
const offlineHint = "check the network and the proxy (HTTPS_PROXY), then run `make setup` again; without a network, " +
	"download the wheel of " + xlaCPUPackage + " " + xlaCPUVersion + " elsewhere and name the file in DESCANT_XLA_WHEEL"

// download asks the Python package index for the wheel and gets it into a temporary file.
func download(ctx context.Context, pinned wheel, progress func(string)) (string, error) {
	progress(fmt.Sprintf("look up %s %s", xlaCPUPackage, xlaCPUVersion))
	if err := ctx.Err(); err != nil {
		return "", err
	}
	info, err := installer.GetPipInfo(xlaCPUPackage)
	if err != nil {
		return "", fmt.Errorf("install the XLA CPU plugin: look up the package %s: %w: %s", xlaCPUPackage, err, offlineHint)
	}
	for _, release := range info.Releases[xlaCPUVersion] {
		if release.PackageType != "bdist_wheel" || !strings.Contains(release.Filename, pinned.platform) {
			continue
		}
		progress("download " + release.Filename)
		file, _, err := installer.DownloadURLToTemp(release.URL, release.Filename, pinned.sha256, false, installer.Quiet)
		if err != nil {
			return "", fmt.Errorf("install the XLA CPU plugin: download %s: %w: %s", release.Filename, err, offlineHint)
		}
		return file, nil
	}
	return "", fmt.Errorf("install the XLA CPU plugin: the package index lists no wheel of %s %s for %s: %s",
		xlaCPUPackage, xlaCPUVersion, pinned.platform, offlineHint)
}

// checkSHA256 compares the digest of a file with the pinned one.
func checkSHA256(file, want string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("install the XLA CPU plugin: %w", err)
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return fmt.Errorf("install the XLA CPU plugin: read %s: %w", file, err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != want {
		return fmt.Errorf("install the XLA CPU plugin: %s has sha256 %s instead of the pinned %s: the file is damaged or "+
			"not the one that was tested; get it again", file, got, want)
	}
	return nil
}

// unpack extracts the library of the wheel and makes it visible under path by one rename.
func unpack(wheelFile, path string) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".unpack-*")
	if err != nil {
		return fmt.Errorf("install the XLA CPU plugin: %w", err)
	}
	defer os.Remove(temp.Name())
	if err := temp.Close(); err != nil {
		return fmt.Errorf("install the XLA CPU plugin: %w", err)
	}
	if err := installer.ExtractFileFromZip(wheelFile, xlaCPULibrary, temp.Name()); err != nil {
		return fmt.Errorf("install the XLA CPU plugin: take %s out of %s: %w", xlaCPULibrary, wheelFile, err)
	}
	if err := publish(temp.Name(), path); err != nil {
		return fmt.Errorf("install the XLA CPU plugin: write %s: %w", path, err)
	}
	return nil
}

// publish syncs a finished file and renames it to its final name.
func publish(temp, path string) error {
	f, err := os.OpenFile(temp, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	return os.Rename(temp, path)
}

// enoughDisk refuses to start a download that cannot end well.
func enoughDisk(dir string, need int64) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return nil //nolint:nilerr // a file system that does not say is found out by writing
	}
	free := int64(stat.Bavail) * int64(stat.Bsize) //nolint:unconvert // Bsize is an int64 on Linux and a uint32 on macOS
	if free < need {
		return fmt.Errorf("install the XLA CPU plugin: %s has %d MiB free and %d MiB are needed: make room or set "+
			"DESCANT_CACHE to a folder on another disk", dir, free>>20, need>>20)
	}
	return nil
}
