package systemtest

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestReportTellsOfAllSteps stops a training, lets it go on, and finds every step in what lies with the adapter.
func TestReportTellsOfAllSteps(t *testing.T) {
	t.Parallel()
	env, base, out := small(t), filepath.Join(t.TempDir(), "base"), filepath.Join(t.TempDir(), "out")
	TinyBase(t, base)
	const steps = 60
	args := []string{"train", "--model", base, "--max-steps", strconv.Itoa(steps), "--output-dir", out, "--report_to", "tensorboard"}
	p := Launch(t, Command{Name: "descant train", Args: args, Env: env})
	waitFor(t, p, fmt.Sprint("step 2/", steps))
	if live := boards(t, out); len(live) != 1 || !strings.HasSuffix(live[0], ".live") {
		t.Errorf("while it trains there are %v", live)
	}
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(t); err == nil {
		t.Fatal("it was done before it could be stopped")
	}
	done := ok(t, env, args...)
	if !strings.Contains(done.errors, "going on after step") || !strings.Contains(done.out, filepath.Join(out, "report.html")) {
		t.Errorf("it began anew, or does not name its report:\n%s%s", done.out, done.errors)
	}

	found := boards(t, out)
	if len(found) != 1 || strings.HasSuffix(found[0], ".live") {
		t.Fatalf("event files %v", found)
	}
	if n := records(t, found[0]); n != 1+steps {
		t.Errorf("the event file has %d records, expected one for each step and one for its version", n)
	}
	for name, want := range map[string]string{"report.html": "var(--strong)", "report.png": "PNG", "manifest.json": `"name":"report.html"`} {
		data, err := os.ReadFile(filepath.Join(out, name))
		if err != nil || !strings.Contains(strings.ReplaceAll(string(data), `": "`, `":"`), want) {
			t.Errorf("%s lacks %q (%v)", name, want, err)
		}
	}
}

func boards(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// records counts the records of an event file: length (8 bytes), checksum (4), data, checksum (4).
func records(t *testing.T, path string) (n int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for len(data) >= 16 {
		size := 16 + int(binary.LittleEndian.Uint64(data))
		if size > len(data) {
			t.Fatalf("record %d is cut off", n)
		}
		data, n = data[size:], n+1
	}
	if len(data) > 0 {
		t.Errorf("%d bytes are left over", len(data))
	}
	return n
}
