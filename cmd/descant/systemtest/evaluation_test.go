package systemtest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTrainEvaluates trains with a second dataset for evaluation, and with a part of the rows, through the command.
func TestTrainEvaluates(t *testing.T) {
	t.Parallel()
	env, base := small(t), filepath.Join(t.TempDir(), "base")
	TinyBase(t, base)
	rows, eval := filepath.Join(t.TempDir(), "rows.jsonl"), filepath.Join(t.TempDir(), "eval.jsonl")
	var text strings.Builder
	for i := range 8 {
		fmt.Fprintf(&text, `{"instruction":"你好 %d","output":"hello"}`+"\n", i)
	}
	if err := os.WriteFile(rows, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(eval, []byte(strings.Repeat(`{"instruction":"再见","output":"bye"}`+"\n", 3)), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		flags []string
		rows  float64
	}{
		"eval_dataset": {[]string{"--eval-dataset", eval}, 3},
		"val_size":     {[]string{"--val-size", "0.25"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := filepath.Join(t.TempDir(), "out")
			args := append([]string{"train", "--model", base, "--dataset", rows, "--output-dir", out, "--max-steps", "4", "--eval-steps", "2",
				"--load-best-model-at-end", "--json"}, tt.flags...)
			var steps []float64
			for line := range strings.Lines(ok(t, env, args...).out) {
				var event struct {
					Type       string `json:"type"`
					Evaluation struct {
						Step float64 `json:"step"`
						Loss float64 `json:"loss"`
						Rows float64 `json:"rows"`
					} `json:"evaluation"`
				}
				if err := json.Unmarshal([]byte(line), &event); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				if event.Type != "eval" {
					continue
				}
				steps = append(steps, event.Evaluation.Step)
				if event.Evaluation.Loss <= 0 || event.Evaluation.Rows != tt.rows {
					t.Errorf("evaluation %+v", event.Evaluation)
				}
			}
			if len(steps) != 3 || steps[0] != 0 || steps[1] != 2 || steps[2] != 4 {
				t.Errorf("evaluations after steps %v, want the base, 2 and 4", steps)
			}
			card, err := os.ReadFile(filepath.Join(out, "README.md"))
			if err != nil || !strings.Contains(string(card), "rows for evaluation") {
				t.Errorf("the card says nothing of the evaluation: %v\n%s", err, card)
			}
		})
	}
	refused := descant(t, env, "train", "--model", base, "--dataset", rows, "--output-dir", t.TempDir(), "--eval-steps", "2")
	if refused.code != 2 || !strings.Contains(refused.errors, "set eval_dataset or val_size") {
		t.Errorf("exit code %d, %s", refused.code, refused.errors)
	}
}
