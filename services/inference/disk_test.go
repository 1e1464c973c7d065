package inference

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"descant/pkg/lora"
	"descant/pkg/pb"
	"descant/pkg/registry"
)

// TestDisk: a folder that is damaged is fetched again, and the least recently used folders go when there are too many
// bytes.
func TestDisk(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	d := newDisk(f.registry, t.TempDir(), 1, slog.New(slog.DiscardHandler))
	read := func(found registry.Resolved) {
		t.Helper()
		if err := d.read(t.Context(), found.Version, func(dir string, manifest *pb.AdapterManifest) error { return verify(dir, manifest) }); err != nil {
			t.Fatal(err)
		}
	}
	first, _ := f.publish(t, "a", 10, nil)
	second, _ := f.publish(t, "b", 11, nil)
	read(first)
	for _, name := range []string{lora.WeightsFile, "manifest.json"} {
		if err := os.WriteFile(filepath.Join(d.folder(first.Version.GetDigest()), name), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		read(first)
	}
	read(second)
	pinned := first.Version.GetDigest()
	if err := d.trim(func(digest string) bool { return digest == pinned }); err != nil {
		t.Fatal(err)
	}
	if !d.has(pinned) || d.has(second.Version.GetDigest()) {
		t.Error("the pinned one must stay, the other must go")
	}
	done := d.use(pinned)
	if err := d.trim(func(string) bool { return false }); err != nil || !d.has(pinned) {
		t.Errorf("what is being read was cleared away, %v", err)
	}
	done()
	if err := d.trim(func(string) bool { return false }); err != nil || d.has(pinned) {
		t.Errorf("there are too many bytes, and it is still there, %v", err)
	}
	// While nothing is fetched there is nothing to look for; a fetch makes it look again.
	stray := filepath.Join(d.root, strings.Repeat("0", 64))
	if err := os.MkdirAll(stray, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(stray, "file"), []byte("more than a byte"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.trim(func(string) bool { return false }); err != nil || !d.has("sha256:"+filepath.Base(stray)) {
		t.Errorf("nothing was fetched, and the folders were looked through, %v", err)
	}
	read(second)
	if err := d.trim(func(string) bool { return false }); err != nil || d.has("sha256:"+filepath.Base(stray)) {
		t.Errorf("a version was fetched, and there are too many bytes, %v", err)
	}
}
