package train

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/lora"
	"descant/pkg/model"
	"descant/pkg/model/modeltest"
	"descant/pkg/safetensors"
)

// table is a dataset in memory.
type table [][]int32

func (r table) Len() int { return len(r) }

func (r table) Row(i int) (ids, labels []int32) { return r[i], r[i] }

// Order turns the list by the epoch: enough to tell epochs apart.
func (r table) Order(_ int64, epoch int) []int {
	order := make([]int, len(r))
	for i := range order {
		order[i] = (i + epoch) % len(r)
	}
	return order
}

// sentences are rows of a small language of repeated patterns.
func sentences(n int) table {
	var rows table
	for i := range n {
		row := make([]int32, 6+i%9)
		for t := range row {
			row[t] = int32(10 + (i*3+t*7)%40)
		}
		rows = append(rows, row)
	}
	return rows
}

// settings are small hyper-parameters on the pure-Go backend, which compiles nothing.
func settings(t *testing.T, steps int) Config {
	t.Helper()
	dev, err := device.Open(device.Go)
	if err != nil {
		t.Fatal(err)
	}
	training := job.DefaultTraining()
	training.MaxSteps, training.LearningRate, training.MaxLength = steps, 5e-3, 64
	training.PerDeviceTrainBatchSize, training.GradientAccumulationSteps = 2, 2
	training.SaveSteps = 0
	return Config{
		Device: dev, BaseDir: modeltest.Cases(t, "full_train.json")[0].Base(), BaseName: "org/base", Training: training,
		Rows: sentences(10), Dir: t.TempDir(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

// TestResume stops a run with dropout after three steps and continues it: the adapter must be the same to the
// last bit as that of a run without a stop.
func TestResume(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 7)
	cfg.Training.LoraDropout = 0.1
	whole, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if whole.Steps != 7 || whole.MaxLogitDiff == 0 || whole.FinalLoss >= whole.FirstLoss {
		t.Errorf("result %+v", whole)
	}

	cfg.Dir = t.TempDir()
	ctx, stop := context.WithCancelCause(context.Background())
	cfg.OnStep = func(s Step) {
		if s.Step == 3 {
			stop(ErrStop)
		}
	}
	_, err = Run(ctx, cfg)
	var stopped *StoppedError
	if !errors.As(err, &stopped) || !errors.Is(err, ErrStop) || stopped.Step != 3 {
		t.Fatalf("got %v, expected a stop after step 3", err)
	}
	cfg.OnStep, cfg.Resume = nil, stopped.Dir
	resumed, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{lora.WeightsFile, lora.ConfigFile} {
		if !bytes.Equal(read(t, whole.AdapterDir, name), read(t, resumed.AdapterDir, name)) {
			t.Errorf("%s differs between a whole and a resumed run", name)
		}
	}
	if resumed.Tokens != whole.Tokens || resumed.TrainedTokens != whole.TrainedTokens {
		t.Errorf("resumed run counts %d and %d tokens, the whole one %d and %d", resumed.Tokens, resumed.TrainedTokens,
			whole.Tokens, whole.TrainedTokens)
	}

	cfg.Training.LearningRate *= 2
	if _, err := Run(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), "other settings") {
		t.Errorf("a checkpoint of other settings was accepted: %v", err)
	}
}

func mustRun(t *testing.T, cfg Config) *Result {
	t.Helper()
	result, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// runAndResume runs without a stop, and once more with a stop after a step.
func runAndResume(t *testing.T, cfg Config, at int) (whole, resumed *Result) {
	t.Helper()
	whole = mustRun(t, cfg)
	cfg.Dir = t.TempDir()
	ctx, stop := context.WithCancelCause(context.Background())
	onStep := cfg.OnStep
	cfg.OnStep = func(s Step) {
		if onStep != nil {
			onStep(s)
		}
		if s.Step == at {
			stop(ErrStop)
		}
	}
	_, err := Run(ctx, cfg)
	var stopped *StoppedError
	if !errors.As(err, &stopped) || stopped.Step != at {
		t.Fatalf("got %v, expected a stop after step %d", err, at)
	}
	cfg.OnStep, cfg.Resume, cfg.Dir = onStep, stopped.Dir, t.TempDir()
	return whole, mustRun(t, cfg)
}

func equalAdapters(t *testing.T, a, b *Result) {
	t.Helper()
	for _, name := range []string{lora.WeightsFile, lora.ConfigFile} {
		if !bytes.Equal(read(t, a.AdapterDir, name), read(t, b.AdapterDir, name)) {
			t.Errorf("%s differs between the two runs", name)
		}
	}
}

// TestLastCheckpoint resumes at the last step: nothing is trained, the adapter is written.
func TestLastCheckpoint(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 2)
	cfg.Training.SaveSteps = 1
	var saved []Checkpoint
	cfg.OnCheckpoint = func(_ context.Context, c Checkpoint) error { saved = append(saved, c); return nil }
	first, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(saved) != 2 || saved[1].Step != 2 {
		t.Fatalf("checkpoints %v, expected steps 1 and 2", saved)
	}
	cfg.Dir, cfg.Resume = t.TempDir(), saved[1].Dir
	cfg.OnStep = func(s Step) { t.Errorf("step %d was trained again", s.Step) }
	second, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(t, first.AdapterDir, lora.WeightsFile), read(t, second.AdapterDir, lora.WeightsFile)) {
		t.Error("the adapter differs")
	}
	if _, err := os.Stat(filepath.Join(saved[0].Dir, "state.json")); err != nil {
		t.Error(err)
	}
}

// TestFull trains all parameters and loads the written folder as a model.
func TestFull(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 6)
	cfg.Training.Method = job.MethodFull
	result, err := Run(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if result.FinalLoss >= result.FirstLoss {
		t.Errorf("loss went from %g to %g", result.FirstLoss, result.FinalLoss)
	}
	m, err := model.Load(cfg.Device, result.ModelDir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if result.TrainedParameters != m.Config.Parameters() {
		t.Errorf("%d parameters trained of %d", result.TrainedParameters, m.Config.Parameters())
	}
}

// TestNotFinite trains a base with a NaN in it.
func TestNotFinite(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 3)
	set, err := safetensors.OpenDir(cfg.BaseDir)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	dir := t.TempDir()
	var list []safetensors.Tensor
	for _, name := range set.Names() {
		values, err := set.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		if name == model.NormName {
			values[0] = float32(math.NaN())
		}
		info, _ := set.Info(name)
		list = append(list, safetensors.Tensor{Name: name, DType: safetensors.F32, Shape: info.Shape, Data: model.AsBytes(values)})
	}
	if err := safetensors.Write(filepath.Join(dir, weightsFile), list, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), read(t, cfg.BaseDir, "config.json"), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg.BaseDir = dir
	_, err = Run(context.Background(), cfg)
	var bad *NotFiniteError
	if !errors.As(err, &bad) || bad.Step != 1 || bad.What != "loss" {
		t.Errorf("got %v, expected a loss that is not finite in step 1", err)
	}
}

func TestBadRows(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rows table
		want string
	}{
		"empty":      {nil, "no rows"},
		"vocabulary": {table{{1, 2}, {3, 99999}}, "row 1: token 1 has id 99999"},
		"too long":   {table{make([]int32, 65)}, "more than max_length 64"},
		"no tokens":  {table{{}}, "row 0: it has no tokens"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := settings(t, 1)
			cfg.Rows = c.rows
			if _, err := Run(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, expected %q", err, c.want)
			}
		})
	}
}

// TestCancel ends a run without a checkpoint.
func TestCancel(t *testing.T) {
	t.Parallel()
	cfg := settings(t, 5)
	cause := errors.New("the user cancelled")
	ctx, cancel := context.WithCancelCause(context.Background())
	cfg.Alive = func() { cancel(cause) }
	if _, err := Run(ctx, cfg); !errors.Is(err, cause) || errors.Is(err, ErrStop) {
		t.Errorf("got %v, expected %v", err, cause)
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, "checkpoints")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a cancelled run left a checkpoint (%v)", err)
	}
}

func TestChunks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n, largest int
		want       []int
	}{
		{0, 128, nil},
		{1, 128, []int{32}},
		{127, 128, []int{128}},
		{140, 128, []int{128, 32}},
		{70, 128, []int{64, 32}},
		{100, 128, []int{128}},
	} {
		if got := chunks(c.n, c.largest); !slices.Equal(got, c.want) {
			t.Errorf("chunks(%d, %d) = %v, expected %v", c.n, c.largest, got, c.want)
		}
	}
}

func TestWidths(t *testing.T) {
	t.Parallel()
	lengths := append(slices.Repeat([]int{30}, 90), slices.Repeat([]int{500}, 10)...)
	if got := chooseSizes(lengths, maxLanes, 0.1, 0); !slices.Equal(got, []int{32, 512}) {
		t.Errorf("widths %v, expected 32 and 512", got)
	}
	if got := chooseSizes([]int{120, 128, 125}, maxLanes, 0.1, 0); !slices.Equal(got, []int{128}) {
		t.Errorf("widths %v, expected 128 alone", got)
	}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}
