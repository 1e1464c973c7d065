package train

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/lora"
	"descant/pkg/model"
)

// Estimate says what a run will take, before it is run. Its numbers come from the run's own programs: all decoder layers
// are alike but the lowest that is trained, below which no gradient goes, so two layers with made-up weights are compiled and
// timed at the shapes that the dataset gives, and counted as often as the model has them.
type Estimate struct {
	// Steps and MicroBatches are those of the whole run; Tokens are its tokens, Padded with their padding.
	Steps        int     `json:"steps"`
	MicroBatches int     `json:"micro_batches"`
	Tokens       int64   `json:"tokens"`
	Padded       int64   `json:"padded_tokens"`
	Widths       []Width `json:"widths"`
	// Sampled is the number of steps that were looked at; when it is below Steps, the rest was taken to be like them.
	Sampled           int            `json:"sampled_steps"`
	Layers            int            `json:"layers"`
	Parameters        int64          `json:"parameters"`
	TrainedParameters int64          `json:"trained_parameters"`
	Memory            MemoryEstimate `json:"memory"`
	Time              TimeEstimate   `json:"time"`
	// BusyElsewhere is the share of all processors, from 0 to 1, that other work took while this was measured: the times are
	// those of a machine that is as busy.
	BusyElsewhere float64 `json:"busy_elsewhere"`
}

// Width is a width of the micro-batches in tokens, Lane that of the attention in it, with how many of them there are and
// what one costs in one layer: not the lowest, where there are several.
type Width struct {
	Width        int     `json:"width"`
	Lane         int     `json:"lane"`
	MicroBatches int     `json:"micro_batches"`
	LayerSeconds float64 `json:"layer_seconds"`
}

// MemoryEstimate is the memory of the process at its peak, in bytes.
type MemoryEstimate struct {
	Peak int64 `json:"peak"`
	// Weights are those of the base as they lie in memory.
	Weights int64 `json:"weights"`
	// Saved is what the forward pass of the largest micro-batch keeps for the backward pass.
	Saved int64 `json:"saved_activations"`
	// Checkpointed is what of Saved gradient checkpointing would keep: the inputs of all layers, and the rest of one.
	Checkpointed int64 `json:"with_gradient_checkpointing"`
	// Optimizer is everything trained: parameters, gradient and the two moments.
	Optimizer int64 `json:"optimizer"`
	// Head bounds the logits of one chunk with their gradient.
	Head int64 `json:"head_chunk"`
	// Saving is what writing checkpoints and results needs beyond that (method full).
	Saving int64 `json:"saving"`
	// Rest is what was measured beside these: the program, its compiled programs, and their working space.
	Rest int64 `json:"rest"`
}

// TimeEstimate is where the time goes, in seconds.
type TimeEstimate struct {
	Total   float64 `json:"total"`
	Load    float64 `json:"load"`
	Compile float64 `json:"compile"`
	Layers  float64 `json:"layers"`
	// Head is that of the output layer and the loss, Update that of gradient norm and AdamW.
	Head   float64 `json:"head"`
	Update float64 `json:"update"`
	// Evaluate is that of all evaluations; early stopping may leave some out.
	Evaluate float64 `json:"evaluate"`
	// Save is that of the checkpoints on the way.
	Save float64 `json:"save"`
	// Check is that of the adapter's comparison with its base at the end.
	Check float64 `json:"check"`
}

// sampledSteps bounds the steps that are laid out to count micro-batches.
const sampledSteps = 1000

// builtLayers are the layers of the base that is timed: one as most of a model are, and the lowest.
const builtLayers = 2

// EstimateRun measures two layers on the device and works out the rest. Of the base it reads config.json alone. Dir is
// for a temporary base of two layers: two or four bytes for each element of the embedding and of the layers.
func EstimateRun(ctx context.Context, cfg Config) (*Estimate, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	whole, err := model.ReadConfig(cfg.BaseDir)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(cfg.Dir, "few-layers-*")
	if err != nil {
		return nil, fmt.Errorf("estimate: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary folder in a work folder
	m, err := newMeasurement(cfg, whole, dir)
	if err != nil {
		return nil, err
	}
	defer m.run.engine.close()
	// Here the steps come at once behind the loading. What that left is gone when a run has its peak, some steps later.
	debug.FreeOSMemory()
	begin := device.ProcessorsNow()
	if err := m.measure(ctx); err != nil {
		return nil, fmt.Errorf("estimate: %w", err)
	}
	e := m.result(whole)
	e.BusyElsewhere = device.BusyElsewhere(begin, device.ProcessorsNow())
	return e, nil
}

// newMeasurement loads a base of few layers, which it makes in dir, and lays out the steps of the run.
func newMeasurement(cfg Config, whole *model.Config, dir string) (*measurement, error) {
	m := &measurement{layers: whole.Layers, built: min(whole.Layers, builtLayers)}
	if err := writeLayers(cfg.BaseDir, dir, m.built); err != nil {
		return nil, fmt.Errorf("estimate: %w", err)
	}
	var err error
	if m.trained, m.lowest, err = cfg.shrink(whole, dir); err != nil {
		return nil, err
	}
	m.run = &run{cfg: cfg, start: time.Now()}
	if err := m.run.prepare(); err != nil {
		return nil, err
	}
	m.prepared = time.Since(m.run.start)
	m.weights = m.oneLayerWeights()
	m.lay()
	return m, nil
}

// shrink makes the settings those of a run on the base of few layers in dir, and gives the number of parameters that the
// run on the whole base trains, and the lowest layer that it trains.
func (c *Config) shrink(whole *model.Config, dir string) (trained int64, lowest int, err error) {
	t := &c.Training
	trained = whole.Parameters()
	if t.Method != job.MethodFull {
		plan, err := lora.PlanTraining(whole, *t, c.BaseName)
		if err != nil {
			return 0, 0, err
		}
		trained = plan.Parameters()
		for plan.Size(lowest) == 0 { // a plan without a module is refused
			lowest++
		}
		few, err := model.ReadConfig(dir)
		if err != nil {
			return 0, 0, err
		}
		t.LayersToTransform = nil
		if plan, err := lora.PlanTraining(few, *t, c.BaseName); err != nil || plan.Size(0) == 0 || plan.Size(few.Layers-1) == 0 {
			// The settings name layers by their numbers, and these are not among them: an adapter on all of their maps is
			// the most that it could cost.
			t.TargetModules, t.RankPattern, t.AlphaPattern = job.TargetModules{job.AllLinear}, nil, nil
		}
	}
	t.InitFrom, c.InitFrom = "", "" // an adapter of the same shape costs the same
	c.BaseDir, c.Resume, c.OnStep, c.OnCheckpoint = dir, "", nil, nil
	return trained, lowest, nil
}

// result counts everything as often as the whole run has it.
func (m *measurement) result(whole *model.Config) *Estimate {
	scale := float64(m.steps) / float64(max(1, m.sampled))
	e := &Estimate{Steps: m.steps, Sampled: m.sampled, Layers: m.layers, Parameters: whole.Parameters(), TrainedParameters: m.trained,
		Tokens: int64(float64(m.tokens) * scale), Padded: int64(float64(m.padded) * scale)}
	engine := m.run.engine
	here := m.run.result.TrainedParameters // of the layers that are here

	t := &e.Time
	for _, s := range m.shapes {
		n := float64(m.counts[s]) * scale
		e.MicroBatches += int(n + 0.5)
		cost := m.costs[s]
		e.Widths = append(e.Widths, Width{s.width, s.lane, int(n + 0.5), (cost.forward + cost.inner).Seconds()})
		t.Layers += n * cost.whole(m.layers, m.lowest).Seconds()
	}
	t.Load = (m.prepared - m.run.loading).Seconds() + m.run.loading.Seconds()*float64(whole.Parameters())/float64(engine.config.Parameters())
	t.Compile = m.compiled.Seconds()
	head := fitHead(m.heads)
	t.Head = head.cost(m.headChunks, m.headRows) * scale
	share := float64(m.trained) / float64(max(1, here))
	t.Update = m.updateTime.Seconds() * share * float64(m.steps)
	t.Evaluate = float64(m.evaluations()) * m.evaluationCost(head, engine.norm == nil)
	if every := m.run.cfg.Training.SaveSteps; every > 0 {
		t.Save = m.saveTime.Seconds() * share * float64(m.steps/every)
	}
	t.Check = m.checkTime.Seconds()
	t.Total = t.Load + t.Compile + t.Layers + t.Head + t.Update + t.Evaluate + t.Save + t.Check

	y := &e.Memory
	const state = 4 * 4                         // bytes of value, gradient and two moments of a parameter
	passing := int64(min(m.lowest, m.layers-1)) // layers that keep nothing but their input
	y.Weights = int64(m.layers)*m.weights + m.outsideWeights()
	y.Saved = int64(m.layers)*m.layerSaved - passing*(m.layerSaved-m.layerInput)
	y.Checkpointed = int64(m.layers-1)*m.layerInput + m.layerSaved
	y.Optimizer = state * e.TrainedParameters
	y.Head = 3 * 4 * int64(logitsOf(m.largestChunk, whole.Vocab, m.run.engine.norm == nil))
	steps := m.peak + int64(m.layers-m.built)*m.weights + y.Saved - int64(m.built)*m.layerSaved + state*(m.trained-here)
	if m.run.cfg.Training.Method == job.MethodFull {
		// Parameters and moments are copied out while a checkpoint or the model is written; the activations are gone then.
		y.Saving = max(0, 3*4*e.TrainedParameters-y.Saved-y.Head)
	}
	y.Peak = steps + y.Saving
	y.Rest = max(0, steps-y.Weights-y.Saved-y.Optimizer-y.Head)
	return e
}

// outsideWeights is the size of the frozen weights outside the layers.
func (m *measurement) outsideWeights() int64 {
	base := m.run.engine.base
	var n int64
	list := []*model.Array{base.Embed, base.Norm}
	if base.Head != base.Embed {
		list = append(list, base.Head)
	}
	for _, a := range list {
		if a != nil {
			n += a.Bytes()
		}
	}
	return n
}
