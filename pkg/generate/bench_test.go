package generate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"descant/pkg/device"
	"descant/pkg/lora"
)

// BenchmarkDecode decodes one token for each of some rows (DESCANT_BENCH_ROWS, default 8) of the model in DESCANT_BENCH_MODEL, in
// DESCANT_BENCH_DTYPE (default f32): in turn for the base, with one adapter for all rows, and with eight that take turns. They are
// of rank DESCANT_BENCH_RANK (default 8), on all linear layers, in DESCANT_BENCH_LORA_DTYPE (default that of the base). It reports
// the step of the base and how much longer the others take.
func BenchmarkDecode(b *testing.B) {
	dir := os.Getenv("DESCANT_BENCH_MODEL")
	if dir == "" {
		b.Fatal("set DESCANT_BENCH_MODEL to a model folder")
	}
	number := func(name string, fallback int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return fallback
	}
	dtype := os.Getenv("DESCANT_BENCH_DTYPE")
	if dtype == "" {
		dtype = F32
	}
	const adapters = 8
	rows, rank := number("DESCANT_BENCH_ROWS", 8), number("DESCANT_BENCH_RANK", 8)
	dev, err := device.Open(device.Auto)
	if err != nil {
		b.Fatal(err)
	}
	defer dev.Close()
	e, err := New(dev, dir, Options{DType: dtype, LoraDType: os.Getenv("DESCANT_BENCH_LORA_DTYPE"), MaxRows: rows, MaxContext: 256, Slots: adapters, MaxRank: rank})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	if err := e.Warm(context.Background()); err != nil {
		b.Fatal(err)
	}
	folder := b.TempDir()
	for i := range adapters {
		if err := randomAdapter(e, rank, filepath.Join(folder, strconv.Itoa(i)), int64(i)); err != nil {
			b.Fatal(err)
		}
		if err := e.LoadAdapter(context.Background(), strconv.Itoa(i), filepath.Join(folder, strconv.Itoa(i))); err != nil {
			b.Fatal(err)
		}
	}
	batch := make([]*sequence, rows)
	for row := range batch {
		prompt := make([]int32, 100)
		for i := range prompt {
			prompt[i] = rand.Int32N(int32(e.vocab))
		}
		batch[row] = newSequence(context.Background(), Request{Prompt: prompt, MaxTokens: 100}, nil)
		batch[row].row, batch[row].cached = row, len(prompt)-1
	}
	kinds := []string{"base", "one", "mixed"}
	spent := make([]time.Duration, len(kinds))
	for b.Loop() {
		for k, kind := range kinds {
			for row, s := range batch {
				switch kind {
				case "base":
					s.adapter = nil
				case "one":
					s.adapter = e.adapters.byKey["0"]
				case "mixed":
					s.adapter = e.adapters.byKey[strconv.Itoa(row%adapters)]
				}
			}
			began := time.Now()
			if _, err := e.steps.decode(batch, len(batch[0].req.Prompt)); err != nil {
				b.Fatal(err)
			}
			spent[k] += time.Since(began)
			for _, s := range batch {
				s.cached--
			}
		}
	}
	b.ReportMetric(float64(spent[0].Milliseconds())/float64(b.N), "base-ms/step")
	for k := 1; k < len(kinds); k++ {
		b.ReportMetric(100*(float64(spent[k])/float64(spent[0])-1), fmt.Sprintf("%%-%s-adds", kinds[k]))
	}
}

// randomAdapter writes an adapter whose matrices are random.
func randomAdapter(e *Engine, rank int, dir string, seed int64) error {
	config, err := lora.ParseConfig(fmt.Appendf(nil, `{"peft_type":"LORA","r":%d,"lora_alpha":%d,"target_modules":"all-linear"}`, rank, rank))
	if err != nil {
		return err
	}
	plan, err := lora.NewPlan(e.steps.base.Config, config)
	if err != nil {
		return err
	}
	a := &lora.Adapter{Plan: plan, Flats: plan.Init(seed)}
	random := rand.New(rand.NewPCG(uint64(seed), 1))
	for _, flat := range a.Flats {
		for i := range flat {
			flat[i] = float32(random.NormFloat64()) / 100
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return a.Save(dir)
}
