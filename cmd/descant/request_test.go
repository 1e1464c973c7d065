package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"descant/pkg/pb"
)

func TestRequestHoldsWhatWasGiven(t *testing.T) {
	t.Parallel()
	cmd := &cobra.Command{Use: "x"}
	flags, err := bindRequest(cmd)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Flags().SetNormalizeFunc(spelling)
	if err := cmd.ParseFlags([]string{"--model_name_or_path", "org/m", "--num_train_epochs", "2", "--target-modules", "q_proj,v_proj", "--use-rslora"}); err != nil {
		t.Fatal(err)
	}
	if err := flags.load(); err != nil {
		t.Fatal(err)
	}
	text, err := flags.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := []string{"dataset", "model", "num_train_epochs", "target_modules", "use_rslora"}
	if keys := slices.Sorted(maps.Keys(got)); !slices.Equal(keys, want) {
		t.Errorf("fields %v, want %v", keys, want)
	}
	if got["model"] != "org/m" || got["dataset"] != "builtin:sample" || got["num_train_epochs"] != 2.0 {
		t.Errorf("request %s", text)
	}
	if err := flags.check(); err != nil {
		t.Errorf("epochs alone should replace the default steps: %v", err)
	}
}

func TestDatasetName(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{"/a/My Rows.jsonl": "my-rows", "x.json": "x", "..odd.jsonl": "odd", "a_b-c.1.jsonl": "a_b-c.1"} {
		if got := datasetName(file); got != want {
			t.Errorf("%s → %s, want %s", file, got, want)
		}
	}
	if got := datasetName("数据.jsonl"); !strings.HasPrefix(got, "dataset-") {
		t.Errorf("a name without a usable letter became %s", got)
	}
}

func TestPlainProgress(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	p := &plainProgress{out: &out}
	p.event(&pb.Event{Type: "state", State: "training", Message: "training starts"})
	p.event(&pb.Event{Type: "step", Step: &pb.Step{Step: 3, Total: 50, Loss: 1.5, Lr: 2e-4, GradNorm: 0.25, TokensPerSecond: 99.6, Eta: 61}})
	p.event(&pb.Event{Type: "log", Level: "warn", Message: "2 rows were cut"})
	want := "training starts\nstep 3/50  loss 1.5000  lr 2.00e-04  grad 0.250  100 tok/s  eta 1m1s\nwarn: 2 rows were cut\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestAdapterFolder(t *testing.T) {
	t.Parallel()
	empty, whole, adapter := t.TempDir(), t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		filepath.Join(whole, "config.json"): "{}", filepath.Join(adapter, "adapter_config.json"): `{"base_model_name_or_path":"org/m"}`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := adapterFolder(empty); err == nil || !strings.Contains(err.Error(), "adapter_config.json") {
		t.Errorf("empty folder: %v", err)
	}
	if _, _, err := adapterFolder(whole); err == nil || !strings.Contains(err.Error(), "use --model") {
		t.Errorf("whole model: %v", err)
	}
	if path, base, err := adapterFolder(adapter); err != nil || path != adapter || base != "org/m" {
		t.Errorf("adapter: %s %s %v", path, base, err)
	}
}
