package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"descant/pkg/bus"
	"descant/pkg/pb"
)

// elsewhere are commands whose results in JSON other tests read: they compute, and take long.
var elsewhere = map[string]string{
	"descant train": "systemtest/commands_test.go", "descant chat": "talk_test.go", "descant eval": "eval_test.go", "descant estimate": "estimate_test.go",
	"descant doctor": "cli_test.go", "descant merge": "merge_test.go", "descant export gguf": "export_test.go", "descant verify": "systemtest/lineage_test.go",
	"descant adapters push": "systemtest/lineage_test.go", "descant top": "top_test.go",
}

// serving are commands that run until they are stopped; where they listen is all that they print.
var serving = []string{"descant up", "descant gateway", "descant tokenizer", "descant trainer", "descant inference"}

// TestEveryCommandSpeaksJSON runs every command that prints data with --json. It is not parallel: see TestBadInputJob.
func TestEveryCommandSpeaksJSON(t *testing.T) {
	t.Chdir(".")
	s := startPipeline(t)
	view, err := submit(t.Context(), s.bus, []byte(`{"model":"`+badModel+`","dataset":"builtin:sample","name":"one"}`), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	waitTokenized(t, s.bus, view)
	for _, weights := range []string{"x", "y"} {
		dir := t.TempDir()
		for name, text := range map[string]string{"adapter_config.json": `{"r":1}`, "adapter_model.safetensors": weights} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.registry.Publish(t.Context(), dir, &pb.AdapterManifest{Name: "poet", Base: badModel, BaseDigest: "sha256:0", CreatedAt: bus.Timestamp(time.Now())}); err != nil {
			t.Fatal(err)
		}
	}
	rows := write(t, "rows.jsonl", strings.Repeat(`{"instruction":"a","output":"b"}`+"\n", 3))
	ready := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(ready.Close)
	ready.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	environ := []string{"DESCANT_BUS_URL=" + s.cfg.Bus.URL, "DESCANT_BLOB_ENDPOINT=" + s.cfg.Blob.Endpoint, "DESCANT_BLOB_ACCESS_KEY=" + s.cfg.Blob.AccessKey,
		"DESCANT_BLOB_SECRET_KEY_FILE=" + write(t, "key", s.cfg.Blob.SecretKey.Reveal()), "DESCANT_HTTP_ADDR=" + strings.TrimPrefix(ready.URL, "http://"), "DESCANT_HUB_OFFLINE=true"}
	spoken := map[string]bool{}
	for _, line := range [][]string{
		{"version"}, {"config"}, {"health"}, {"models", "list"}, {"models", "pull", badModel}, {"validate", rows}, {"preview", rows, "--model", badModel},
		{"datasets", "validate", rows}, {"datasets", "push", rows}, {"datasets", "list"},
		{"finetune", "--model", badModel, "--dataset", rows, "--detach"},
		{"jobs", "list"}, {"jobs", "show", view.GetId()}, {"jobs", "pause", view.GetId()}, {"jobs", "resume", view.GetId()}, {"jobs", "cancel", view.GetId()},
		{"adapters", "list"}, {"adapters", "show", "poet"}, {"adapters", "promote", "poet@1"}, {"adapters", "promote", "poet@2"}, {"adapters", "rollback", "poet"},
		{"adapters", "pin", "poet@prod"}, {"adapters", "unpin", "poet@prod"}, {"adapters", "pull", "poet", "--output-dir", filepath.Join(t.TempDir(), "pulled")},
	} {
		checkJSON(t, exitOK, environ, line)
		spoken["descant "+strings.Join(line[:min(len(line), 2)], " ")] = true
		spoken["descant "+line[0]] = true
	}
	// It ends as the job did, and says so in JSON, too.
	checkJSON(t, exitFailed, environ, []string{"jobs", "watch", view.GetId()})
	spoken["descant jobs watch"] = true

	a := &app{streams: streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard}}
	root, err := a.rootCommand()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range leaves(root) {
		if file, ok := elsewhere[path]; ok {
			text, err := os.ReadFile(filepath.Join(packageDir, file))
			if err != nil || !strings.Contains(string(text), `"--json"`) {
				t.Errorf("%s does not try %s with --json: %v", file, path, err)
			}
			continue
		}
		if !spoken[path] && !strings.HasPrefix(path, "descant completion ") && !slices.Contains(serving, path) {
			t.Errorf("%s is not tried with --json", path)
		}
	}
}

// leaves are the commands that hold no others.
func leaves(c *cobra.Command) (paths []string) {
	if len(c.Commands()) == 0 {
		return []string{c.CommandPath()}
	}
	for _, child := range c.Commands() {
		paths = append(paths, leaves(child)...)
	}
	return paths
}

// checkJSON runs a command line with --json: stdout holds JSON values and nothing else.
func checkJSON(t *testing.T, want int, environ, line []string) {
	t.Helper()
	code, out, problems := cli(t, environ, append(line, "--json")...)
	if code != want {
		t.Errorf("%v: exit code %d, want %d: %s", line, code, want, problems)
	}
	decoder, n := json.NewDecoder(strings.NewReader(out)), 0
	for ; ; n++ {
		var value any
		err := decoder.Decode(&value)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Errorf("%v: %v in %q", line, err, out)
			return
		}
	}
	if n == 0 {
		t.Errorf("%v prints nothing", line)
	}
}
