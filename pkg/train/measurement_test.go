package train

import (
	"log/slog"
	"math"
	"slices"
	"testing"
	"time"

	"descant/pkg/job"
	"descant/pkg/model"
)

// TestMeasuredPrograms holds that an estimate compiles and times every program that the run uses, and no other: among them
// the backward pass of a layer with a trained one below it, which a base of one layer does not have.
func TestMeasuredPrograms(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*Config){
		"lora":    func(*Config) {},
		"full":    func(c *Config) { c.Training.Method = job.MethodFull },
		"packed":  func(c *Config) { c.Training.Packing = true },
		"dropout": func(c *Config) { c.Training.LoraDropout = 0.1 },
		"again":   func(c *Config) { c.Training.GradientCheckpointing = true },
		"eval":    func(c *Config) { c.EvalRows = sentences(3) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := settings(t, 6)
			cfg.Logger, cfg.now = slog.New(slog.DiscardHandler), time.Now
			set(&cfg)
			r := &run{cfg: cfg, start: time.Now()}
			if err := r.prepare(); err != nil {
				t.Fatal(err)
			}
			defer r.engine.close()
			if err := r.loop(t.Context()); err != nil {
				t.Fatal(err)
			}
			whole, err := model.ReadConfig(cfg.BaseDir)
			if err != nil {
				t.Fatal(err)
			}
			m, err := newMeasurement(cfg, whole, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer m.run.engine.close()
			if err := m.measure(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, want := programs(m.run.engine), programs(r.engine); !slices.Equal(got, want) {
				t.Errorf("the estimate compiles\n%q, the run\n%q", got, want)
			}
		})
	}
}

func programs(e *engine) (names []string) {
	for name := range e.programs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestLayerCost counts the passes of a micro-batch through all layers.
func TestLayerCost(t *testing.T) {
	t.Parallel()
	c := layerCost{embed: 1, forward: 10, inner: 100, bottom: 1000}
	for _, want := range []struct {
		layers, lowest int
		took           time.Duration
	}{
		{1, 0, 1 + 10 + 1000},
		{24, 0, 1 + 24*10 + 23*100 + 1000},
		{24, 20, 1 + 24*10 + 3*100 + 1000}, // 20 layers below are only passed
		{24, 23, 1 + 24*10 + 1000},
	} {
		if got := c.whole(want.layers, want.lowest); got != want.took {
			t.Errorf("%d layers, the lowest trained %d: %d, want %d", want.layers, want.lowest, got, want.took)
		}
	}
}

// TestFitHead finds the cost of a chunk and of a row again.
func TestFitHead(t *testing.T) {
	t.Parallel()
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-9 {
			t.Errorf("%s is %g, want %g", what, got, want)
		}
	}
	both := func(chunks, rows float64) headSample { return headSample{chunks, rows, 0.04*chunks + 0.001*rows} }
	c := fitHead([]headSample{both(1, 32), both(2, 192), both(5, 640), both(1, 128)})
	near("a chunk", c.perChunk, 0.04)
	near("a row", c.perRow, 0.001)
	near("3 chunks with 100 rows", c.cost(3, 100), 0.22)

	c = fitHead([]headSample{{1, 128, 0.256}, {2, 256, 0.512}}) // one shape: nothing tells chunks from rows
	near("a chunk of one shape", c.perChunk, 0)
	near("a row of one shape", c.perRow, 0.002)

	c = fitHead([]headSample{{1, 32, 0.5}, {1, 128, 0.3}}) // more rows took less time: all is laid on the chunks
	near("a chunk where rows cost nothing", c.perChunk, 0.4)
	near("a row where rows cost nothing", c.perRow, 0)

	c = fitHead([]headSample{{1, 100, 0.1}, {4, 100, 0.01}}) // more chunks took less time: all is laid on the rows
	near("a chunk where chunks cost nothing", c.perChunk, 0)
	if c.perRow <= 0 {
		t.Errorf("a row where chunks cost nothing is %g", c.perRow)
	}
	near("no sample", fitHead(nil).cost(3, 100), 0)
}

// TestEvaluationCost scales what was timed in two layers to all of them, the head left aside.
func TestEvaluationCost(t *testing.T) {
	t.Parallel()
	m := &measurement{layers: 24, built: 2, evalTime: map[shape]time.Duration{{16, 16}: 500 * time.Millisecond, {64, 16}: time.Second},
		evals: []evalCost{{shape{16, 16}, 1, 32}, {shape{64, 16}, 1, 64}, {shape{64, 16}, 1, 64}}}
	head := headCost{perChunk: 0.3, perRow: 0}
	// A head takes 0.3 s in training, of which a frozen one keeps a half and a trained one a third.
	for frozen, top := range map[bool]float64{true: 0.15, false: 0.1} {
		want := (0.5-top)*12 + top + 2*((1-top)*12+top)
		if got := m.evaluationCost(head, frozen); math.Abs(got-want) > 1e-9 {
			t.Errorf("frozen %v: an evaluation takes %g s, want %g", frozen, got, want)
		}
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	times := []time.Duration{9, 1, 5, 100, 4}
	if got := median(times); got != 5 || times[0] != 9 {
		t.Errorf("the median is %d, of %v", got, times)
	}
}
