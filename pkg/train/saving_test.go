package train

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/lora"
)

// TestSaving says when checkpoints are written: steps take a minute each on the clock of the test.
func TestSaving(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		steps   int
		minutes float64
		want    []int
	}{
		{"never", 0, 0, nil},
		{"by steps", 3, 0, []int{3, 6}},
		{"by time", 0, 2, []int{2, 4, 6}},
		{"whichever comes first", 3, 2, []int{2, 3, 5, 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cfg := settings(t, 7)
			cfg.Training.SaveSteps, cfg.Training.SaveMinutes = c.steps, c.minutes
			clock := time.Unix(0, 0)
			cfg.now = func() time.Time { return clock }
			cfg.OnStep = func(Step) { clock = clock.Add(time.Minute) }
			var got []int
			cfg.OnCheckpoint = func(_ context.Context, c Checkpoint) error { got = append(got, c.Step); return nil }
			if _, err := Run(context.Background(), cfg); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("checkpoints after steps %v, want %v", got, c.want)
			}
		})
	}
}

// TestResumeOnEveryDevice breaks a run off between two micro-batches, without a checkpoint of its own, and goes on from
// the last one that was written: adapter and model must be the same to the last bit as those of a run without a stop.
func TestResumeOnEveryDevice(t *testing.T) {
	t.Parallel()
	for kind, methods := range map[string][]string{device.Go: {job.MethodLora, job.MethodFull}, device.XLA: {job.MethodLora}} {
		for _, method := range methods {
			t.Run(kind+" "+method, func(t *testing.T) {
				t.Parallel()
				cfg := settings(t, 4)
				var err error
				if cfg.Device, err = device.Open(kind); err != nil {
					t.Fatal(err)
				}
				cfg.Training.Method, cfg.Training.SaveSteps = method, 2
				if method == job.MethodLora {
					cfg.Training.LoraDropout, cfg.Training.NEFTuneAlpha, cfg.Training.LoraPlusLRRatio = 0.1, 5, 4
				}
				whole, err := Run(context.Background(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				cfg.Dir = t.TempDir()
				ctx, cancel := context.WithCancel(context.Background())
				cfg.Point = func(_ context.Context, at string) {
					if at == "step 4 micro-batch 1" {
						cancel()
					}
				}
				if _, err := Run(ctx, cfg); !errors.Is(err, context.Canceled) {
					t.Fatalf("got %v, expected the end of the context", err)
				}
				cfg.Point, cfg.Resume = nil, filepath.Join(cfg.Dir, "checkpoints", "step-000002")
				resumed, err := Run(context.Background(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				a, b, name := whole.AdapterDir, resumed.AdapterDir, lora.WeightsFile
				if method == job.MethodFull {
					a, b, name = whole.ModelDir, resumed.ModelDir, weightsFile
				}
				if !bytes.Equal(read(t, a, name), read(t, b, name)) {
					t.Errorf("%s differs between a whole and a resumed run", name)
				}
			})
		}
	}
}

// placedTable is a table whose rows are the odd ones of a dataset.
type placedTable struct{ table }

func (placedTable) Index(i int) int { return 2*i + 1 }
func (placedTable) Line(i int) int  { return 2*i + 2 }
func (placedTable) Part(int) int    { return 0 }

// TestDiverged trains with a rate at which the weights overflow: the error names step and rows, and no checkpoint holds
// what is not finite.
func TestDiverged(t *testing.T) {
	t.Parallel()
	for _, saveSteps := range []int{0, 1} {
		t.Run(fmt.Sprint("save_steps ", saveSteps), func(t *testing.T) {
			t.Parallel()
			cfg := settings(t, 50)
			cfg.Rows = placedTable{sentences(10)}
			cfg.Training.LearningRate, cfg.Training.LoraAlpha = 10, 1e6
			cfg.Training.WarmupRatio, cfg.Training.SaveSteps = 0, saveSteps
			cfg.Training.WeightDecay = 10 // a rate of 10 makes every step multiply the weights by -99
			cfg.Training.LRSchedulerType = job.SchedulerConstant
			_, err := Run(context.Background(), cfg)
			var bad *NotFiniteError
			if !errors.As(err, &bad) {
				t.Fatalf("got %v, expected a divergence", err)
			}
			batch, err := newBatches(cfg.Rows, cfg.Training.Seed, 2, 2, cfg.Training.MaxLength, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			micro := batch.step(bad.Step - 1)
			if all := batch.places(micro...); !slices.Equal(bad.Rows, all) {
				// A loss is that of one micro-batch.
				if bad.What != "loss" || !slices.ContainsFunc(micro, func(m *microBatch) bool { return slices.Equal(bad.Rows, batch.places(m)) }) {
					t.Errorf("%v; the rows of step %d are %v", bad, bad.Step, all)
				}
			}
			if text := bad.Error(); !strings.Contains(text, fmt.Sprint("step ", bad.Step)) || !strings.Contains(text, fmt.Sprintf("row %d (line %d)", bad.Rows[0].Row, bad.Rows[0].Row+1)) || bad.Rows[0].Row%2 != 1 {
				t.Errorf("the error says %q", text)
			}
			saved, err := os.ReadDir(filepath.Join(cfg.Dir, "checkpoints"))
			if saveSteps == 0 {
				return
			}
			if err != nil || len(saved) != bad.Step-1 {
				t.Errorf("%d checkpoints before step %d, %v", len(saved), bad.Step, err)
			}
			cfg.Resume = filepath.Join(cfg.Dir, "checkpoints", saved[len(saved)-1].Name())
			var again *NotFiniteError
			if _, err := Run(context.Background(), cfg); !errors.As(err, &again) || again.Step != bad.Step || !slices.Equal(again.Rows, bad.Rows) {
				t.Errorf("from the last checkpoint: %v, expected %v again", err, bad)
			}
		})
	}
}

func TestInspect(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 1)
	cfg.Training.SaveSteps, cfg.SpecDigest = 1, "sha256:of this job"
	if _, err := Run(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cfg.Dir, "checkpoints", "step-000001")
	if saved, err := Inspect(dir, cfg.SpecDigest); err != nil || saved != (Saved{Step: 1, Total: 1, Device: cfg.Device.Name()}) {
		t.Errorf("%+v, %v", saved, err)
	}
	if _, err := Inspect(dir, "sha256:of another"); err == nil || !strings.Contains(err.Error(), "other settings") {
		t.Errorf("a checkpoint of another job: %v", err)
	}
}
