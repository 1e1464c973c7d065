package train

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"descant/pkg/device"
	"descant/pkg/lora"
	"descant/pkg/model"
)

// Evaluator computes losses of a base and of adapters on it, by the programs with which they are trained. It is used
// by one goroutine.
type Evaluator struct {
	engine *engine
}

// RowLoss is what a row lost: the sum over its labelled tokens, in nats, and their number.
type RowLoss struct {
	NLL    float64
	Tokens int
}

// NewEvaluator loads a base. Close frees it.
func NewEvaluator(dev *device.Device, baseDir string) (*Evaluator, error) {
	base, err := model.LoadHalvesOn(dev.Backend(), baseDir)
	if err != nil {
		return nil, err
	}
	return &Evaluator{engine: newEngine(base, model.NewFastCompiler(dev.Backend()), nil, adamW{})}, nil
}

// Close frees the base and the programs.
func (v *Evaluator) Close() { v.engine.close() }

// Config is the architecture of the base.
func (v *Evaluator) Config() *model.Config { return v.engine.config }

// Losses gives the loss of every row, of the bare base where adapterDir is empty. No dropout is applied. done, which may
// be nil, hears how many rows each line finished.
func (v *Evaluator) Losses(ctx context.Context, adapterDir string, rows Rows, done func(rows int)) ([]RowLoss, error) {
	release, err := v.use(adapterDir)
	if err != nil {
		return nil, err
	}
	defer release()
	list, err := lines(rows, evaluatedTogether, v.Config().MaxPositions, v.Config().Vocab)
	if err != nil {
		return nil, err
	}
	losses := make([]RowLoss, rows.Len())
	for _, b := range list {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if err := v.measure(b, losses); err != nil {
			return nil, fmt.Errorf("evaluate: %w", err)
		}
		if done != nil {
			done(len(b.index))
		}
	}
	return losses, nil
}

// use puts an adapter onto the base; release takes it off.
func (v *Evaluator) use(dir string) (release func(), err error) {
	e := v.engine
	plan := &lora.Plan{Config: &lora.Config{}, Layers: make([][]lora.Module, e.config.Layers)}
	var flats [][]float32
	if dir != "" {
		if plan, flats, err = loadForEvaluation(e.config, dir); err != nil {
			return nil, err
		}
	}
	release = func() {
		for i, g := range e.layers {
			if g != nil {
				g.free()
				e.layers[i] = nil
			}
		}
	}
	e.target = &loraTarget{model: e.base, plan: plan}
	for i, flat := range flats {
		if len(flat) == 0 {
			continue
		}
		value, err := model.Upload(e.compiler.Backend(), flat, len(flat))
		if err != nil {
			release()
			return nil, fmt.Errorf("load adapter %s: %w", dir, err)
		}
		e.layers[i] = &group{value: value}
	}
	return release, nil
}

// loadForEvaluation reads an adapter without its dropout, which is for training only.
func loadForEvaluation(cfg *model.Config, dir string) (*lora.Plan, [][]float32, error) {
	data, err := os.ReadFile(filepath.Join(dir, lora.ConfigFile))
	if err != nil {
		return nil, nil, fmt.Errorf("load adapter: %w", err)
	}
	config, err := lora.ParseConfig(data)
	if err != nil {
		return nil, nil, fmt.Errorf("load adapter %s: %w", dir, err)
	}
	config.Dropout = 0
	plan, err := lora.NewPlan(cfg, config)
	if err != nil {
		return nil, nil, fmt.Errorf("load adapter %s: %w", dir, err)
	}
	flats, err := plan.ReadWeights(filepath.Join(dir, lora.WeightsFile))
	if err != nil {
		return nil, nil, fmt.Errorf("load adapter %s: %w", dir, err)
	}
	return plan, flats, nil
}

// evaluatedTokens bounds a line of several rows: what a layer computes at one time grows with its tokens.
const evaluatedTokens = 1024

// evaluatedTogether is how many rows share a line whose longest has so many tokens: a power of two, so that lines of few
// different numbers of lanes come about.
func evaluatedTogether(longest int) int {
	n := 1
	for 2*n*longest <= evaluatedTokens {
		n *= 2
	}
	return n
}

// measure adds the losses of a line's rows.
func (v *Evaluator) measure(b *microBatch, losses []RowLoss) error {
	nll, err := v.engine.evaluate(b)
	if err != nil {
		return err
	}
	at := 0
	for i, value := range nll {
		for d := b.documents[at]; int(b.places[i]) >= d.start+d.length; d = b.documents[at] {
			at++
		}
		row := &losses[b.index[at]]
		row.NLL += float64(value)
		row.Tokens++
	}
	return nil
}
