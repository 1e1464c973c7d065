package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"descant/pkg/device"
	"descant/pkg/generate"
	"descant/pkg/lora"
	"descant/pkg/model"

	"golang.org/x/sync/errgroup"
)

// slots is the number of adapters.
const slots = 8

// engine is descant's own with all adapters.
type engine struct {
	*generate.Engine
	o     options
	vocab int
	// seed makes every prompt a new one.
	seed uint64
}

// startEngine makes the adapters, of rank 8 on all linear layers, and an engine that has compiled everything.
func startEngine(ctx context.Context, dev *device.Device, o options, work string) (*engine, error) {
	cfg, err := model.ReadConfig(o.model)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	e, err := generate.New(dev, o.model, generate.Options{
		MaxRows: slices.Max(o.streams), MaxContext: min(cfg.MaxContext(), o.prompt+o.tokens), Slots: slots, MaxRank: 8,
		DType: o.dtype, LoraDType: o.loraDType, PrefixCache: -1, MaxWaiting: 256,
	})
	if err != nil {
		return nil, err
	}
	if err := e.Warm(ctx); err != nil {
		e.Close()
		return nil, err
	}
	fmt.Printf("descant started in %.1f s, %d programs\n", time.Since(start).Seconds(), e.Stats().Compilations)
	for i := range slots {
		dir := adapterDir(work, i)
		if err := makeAdapter(cfg, dir, int64(i)); err != nil {
			e.Close()
			return nil, err
		}
		start := time.Now()
		if err := e.LoadAdapter(ctx, adapterKey(i), dir); err != nil {
			e.Close()
			return nil, err
		}
		if i == slots-1 {
			fmt.Printf("an adapter was loaded in %.0f ms\n", 1000*time.Since(start).Seconds())
		}
	}
	return &engine{Engine: e, o: o, vocab: cfg.Vocab}, nil
}

func (e *engine) close() { e.Close() }

func adapterDir(work string, i int) string { return filepath.Join(work, adapterKey(i)) }

func adapterKey(i int) string { return fmt.Sprintf("adapter-%d", i) }

// makeAdapter writes an adapter with random numbers.
func makeAdapter(cfg *model.Config, dir string, seed int64) error {
	c, err := lora.ParseConfig([]byte(`{"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":
		["q_proj","k_proj","v_proj","o_proj","gate_proj","up_proj","down_proj"]}`))
	if err != nil {
		return err
	}
	plan, err := lora.NewPlan(cfg, c)
	if err != nil {
		return err
	}
	a := &lora.Adapter{Plan: plan, Flats: plan.Init(seed)}
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	for layer, modules := range plan.Layers {
		for _, m := range modules {
			for i := range m.Out * m.Rank {
				a.Flats[layer][m.B+i] = float32(0.01 * random.NormFloat64())
			}
		}
	}
	return a.Save(dir)
}

// measure runs so many streams at once, with so many different adapters.
func (e *engine) measure(ctx context.Context, streams, count int) (measurement, error) {
	times := make([][]time.Time, streams)
	var group errgroup.Group
	start := time.Now()
	for i := range streams {
		e.seed++
		req := generate.Request{Prompt: randomPrompt(e.seed, e.o.prompt, e.vocab), MaxTokens: e.o.tokens, Speculation: generate.SpeculationOff}
		if count > 0 {
			req.Adapter = adapterKey(i % count)
		}
		group.Go(func() error {
			_, err := e.Generate(ctx, req, func(generate.Token) error {
				times[i] = append(times[i], time.Now())
				return nil
			})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return measurement{}, err
	}
	return summarize(start, times), nil
}

func randomPrompt(seed uint64, length, vocab int) []int32 {
	random := rand.New(rand.NewPCG(seed, 1))
	ids := make([]int32, length)
	for i := range ids {
		// Ids of plain text: the special ones are at the end.
		ids[i] = random.Int32N(int32(vocab * 3 / 4))
	}
	return ids
}
