package train

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"descant/pkg/device"
	"descant/pkg/job"
)

// BenchmarkLora trains an adapter on all linear layers (or DESCANT_BENCH_TARGETS) of the model in DESCANT_BENCH_MODEL, rows×tokens as in
// DESCANT_BENCH_SHAPE (default 1x128), in DESCANT_BENCH_DTYPE (default f32), with gradient checkpointing where
// DESCANT_BENCH_CHECKPOINTING is set, and reports tokens per second, memory and compile time.
func BenchmarkLora(b *testing.B) {
	dir := os.Getenv("DESCANT_BENCH_MODEL")
	if dir == "" {
		b.Fatal("set DESCANT_BENCH_MODEL to a model folder")
	}
	shape := os.Getenv("DESCANT_BENCH_SHAPE")
	if shape == "" {
		shape = "1x128"
	}
	first, second, _ := strings.Cut(shape, "x")
	rows, _ := strconv.Atoi(first)
	width, _ := strconv.Atoi(second)
	dev, err := device.Open(device.Auto)
	if err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var data table
	for range rows * 3 {
		row := make([]int32, width)
		for i := range row {
			row[i] = random.Int32N(1000)
		}
		data = append(data, row)
	}
	training := job.DefaultTraining()
	training.PerDeviceTrainBatchSize, training.GradientAccumulationSteps = rows, 1
	training.MaxSteps, training.SaveSteps, training.MaxLength = max(2, b.N), 0, max(8, width)
	if dtype := os.Getenv("DESCANT_BENCH_DTYPE"); dtype != "" {
		training.DType = dtype
	}
	if targets := os.Getenv("DESCANT_BENCH_TARGETS"); targets != "" {
		training.TargetModules = strings.Split(targets, ",")
	}
	training.GradientCheckpointing = os.Getenv("DESCANT_BENCH_CHECKPOINTING") != ""
	if method := os.Getenv("DESCANT_BENCH_METHOD"); method != "" {
		training.Method = method
	}
	result, err := Run(context.Background(), Config{
		Device: dev, BaseDir: dir, Training: training, Rows: data, Dir: b.TempDir(),
		OnStep: func(s Step) { b.Logf("step %d: loss %.4f, %.1f tok/s", s.Step, s.Loss, s.TokensPerSecond) },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(result.TokensPerSecond, "tok/s")
	b.ReportMetric(float64(result.PeakRSS)/(1<<30), "GiB")
	b.ReportMetric(result.TimeToFirstStep.Seconds(), "s-first-step")
	b.ReportMetric(result.CompileTime.Seconds(), "s-compile")
	b.ReportMetric(float64(result.Compilations), "compilations")
}
