package device

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestInstallXLACPUKeepsWhatIsThere(t *testing.T) {
	cache := t.TempDir()
	path := XLACPUPlugin(cache)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("plugin"), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := InstallXLACPU(t.Context(), cache, nil)
	if err != nil || got != path {
		t.Errorf("InstallXLACPU = %q, %v, want %q", got, err, path)
	}
}

func TestInstallXLACPUFailuresLeaveNothing(t *testing.T) {
	damaged := filepath.Join(t.TempDir(), "damaged.whl")
	if err := os.WriteFile(damaged, []byte("PK"), 0o644); err != nil {
		t.Fatal(err)
	}
	cases := []struct{ name, wheel, want string }{
		{"wrong digest", damaged, "pinned"},
		{"no such wheel", "/nowhere/x.whl", "DESCANT_XLA_WHEEL"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("DESCANT_XLA_WHEEL", c.wheel)
			cache := t.TempDir()
			_, err := InstallXLACPU(t.Context(), cache, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.wheel) {
				t.Errorf("error %v", err)
			}
			left, _ := filepath.Glob(filepath.Join(filepath.Dir(XLACPUPlugin(cache)), "*"))
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestInstallXLACPUEndsWithItsContext(t *testing.T) {
	// progress holds the work before it reaches for a network.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	block := make(chan struct{})
	defer close(block)
	_, err := InstallXLACPU(ctx, t.TempDir(), func(string) { <-block })
	if err == nil {
		t.Error("no error although the context was cancelled")
	}
}

func TestInstallXLACPUNeedsAKnownPlatform(t *testing.T) {
	if _, err := xlaCPUWheel("plan9", "mips"); err == nil || !strings.Contains(err.Error(), "plan9/mips") {
		t.Errorf("error %v", err)
	}
	if _, err := xlaCPUWheel(runtime.GOOS, runtime.GOARCH); err != nil && runtime.GOOS == "linux" && runtime.GOARCH == "amd64" {
		t.Error(err)
	}
	if err := enoughDisk(t.TempDir(), 1<<60); err == nil || !strings.Contains(err.Error(), "MiB") {
		t.Errorf("error %v for a disk that is too small", err)
	}
}
