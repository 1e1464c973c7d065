package train

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

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
	base, err := model.Load(dev, baseDir)
	if err != nil {
		return nil, err
	}
	return &Evaluator{engine: newEngine(base, model.NewCompiler(dev.Backend()), nil, adamW{})}, nil
}

// Close frees the base and the programs.
func (v *Evaluator) Close() { v.engine.close() }

// Config is the architecture of the base.
func (v *Evaluator) Config() *model.Config { return v.engine.config }

// Losses gives the loss of every row, of the bare base where adapterDir is empty. No dropout is applied. done, which may
// be nil, hears how many rows each rectangle finished.
func (v *Evaluator) Losses(ctx context.Context, adapterDir string, rows Rows, done func(rows int)) ([]RowLoss, error) {
	release, err := v.use(adapterDir)
	if err != nil {
		return nil, err
	}
	defer release()
	list, err := v.rectangles(rows)
	if err != nil {
		return nil, err
	}
	losses := make([]RowLoss, rows.Len())
	for _, r := range list {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if err := v.measure(r, losses); err != nil {
			return nil, fmt.Errorf("evaluate: %w", err)
		}
		if done != nil {
			done(len(r.of))
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

// rectangle is a micro-batch and the rows that lie in it.
type rectangle struct {
	*microBatch
	of []int
}

// evaluatedTokens bounds a rectangle: what the layers keep of it grows with its tokens.
const evaluatedTokens = 1024

// rectangles lays rows of similar length together, the longest first.
func (v *Evaluator) rectangles(rows Rows) (list []rectangle, err error) {
	lengths, order := make([]int, rows.Len()), make([]int, rows.Len())
	for i := range order {
		ids, labels := rows.Row(i)
		if err := checkRow(ids, labels, v.engine.config.MaxPositions, v.engine.config.Vocab); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
		lengths[i], order[i] = len(ids), i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(lengths[b], lengths[a]) })
	widths := chooseWidths(lengths)
	for len(order) > 0 {
		at, _ := slices.BinarySearch(widths, lengths[order[0]])
		width := widths[at]
		high := max(1, min(evaluatedTokens/width, rows.Len()))
		// Rows that fit a narrower rectangle are left for it.
		n := 1
		for n < min(high, len(order)) && (at == 0 || lengths[order[n]] > widths[at-1]) {
			n++
		}
		m := &microBatch{rows: high, width: width, ids: make([]int32, high*width)}
		for r, i := range order[:n] {
			ids, labels := rows.Row(i)
			m.put(r, ids, labels)
		}
		list = append(list, rectangle{m, order[:n]})
		order = order[n:]
	}
	return list, nil
}

// measure adds the losses of a rectangle's rows.
func (v *Evaluator) measure(r rectangle, losses []RowLoss) error {
	if len(r.places) == 0 {
		return nil
	}
	p, err := v.engine.forward(r.microBatch, 0)
	if err != nil {
		return err
	}
	defer p.free()
	nll, dx, err := v.engine.loss(p, 1)
	if err != nil {
		return err
	}
	dx.Free()
	for i, value := range nll {
		row := &losses[r.of[int(r.places[i])/r.width]]
		row.NLL += float64(value)
		row.Tokens++
	}
	return nil
}
