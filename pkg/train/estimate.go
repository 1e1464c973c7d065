package train

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"

	"descant/pkg/device"
	"descant/pkg/job"
	"descant/pkg/lora"
	"descant/pkg/model"
)

// Estimate says what a run will take, before it is run. Its numbers come from the run's own programs: all decoder layers
// are alike, so one layer with made-up weights is compiled and timed at the shapes that the dataset gives, and counted as
// often as the model has layers.
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
}

// Width is a width of the micro-batches in tokens, Lane that of the attention in it, with how many of them there are and
// what one costs in one layer.
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
	// Check is that of the adapter's comparison with its base at the end.
	Check float64 `json:"check"`
}

// sampledSteps bounds the steps that are laid out to count micro-batches.
const sampledSteps = 1000

// EstimateRun measures one layer on the device and works out the rest. Of the base it reads config.json alone. Dir is
// for a temporary base of one layer: two or four bytes for each element of the embedding and of one layer.
func EstimateRun(ctx context.Context, cfg Config) (_ *Estimate, err error) {
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
	dir, err := os.MkdirTemp(cfg.Dir, "one-layer-*")
	if err != nil {
		return nil, fmt.Errorf("estimate: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary folder in a work folder
	if err := writeOneLayer(cfg.BaseDir, dir); err != nil {
		return nil, fmt.Errorf("estimate: %w", err)
	}
	m := &measurement{layers: whole.Layers}
	if m.trained, err = cfg.shrink(whole, dir); err != nil {
		return nil, err
	}
	m.run = &run{cfg: cfg, start: time.Now()}
	if err := m.run.prepare(); err != nil {
		return nil, err
	}
	defer m.run.engine.close()
	m.loaded = time.Since(m.run.start)
	m.weights = m.oneLayerWeights()
	m.lay()
	if err := m.measure(ctx); err != nil {
		return nil, fmt.Errorf("estimate: %w", err)
	}
	return m.result(whole), nil
}

// shrink makes the settings those of a run on the base of one layer in dir, and gives the number of parameters that the
// run on the whole base trains.
func (c *Config) shrink(whole *model.Config, dir string) (trained int64, err error) {
	t := &c.Training
	trained = whole.Parameters()
	if t.Method != job.MethodFull {
		plan, err := lora.PlanTraining(whole, *t, c.BaseName)
		if err != nil {
			return 0, err
		}
		trained = plan.Parameters()
		one, err := model.ReadConfig(dir)
		if err != nil {
			return 0, err
		}
		t.LayersToTransform = nil
		if _, err := lora.PlanTraining(one, *t, c.BaseName); err != nil {
			// The settings name layers by their numbers, and the first is not among them: an adapter on all of its maps is
			// the most that it could cost.
			t.TargetModules, t.RankPattern, t.AlphaPattern = job.TargetModules{job.AllLinear}, nil, nil
		}
	}
	t.InitFrom, c.InitFrom = "", "" // an adapter of the same shape costs the same
	c.BaseDir, c.Resume, c.OnStep, c.OnCheckpoint = dir, "", nil, nil
	return trained, nil
}

// measurement is the run of one layer that an estimate is made from.
type measurement struct {
	run    *run
	layers int
	loaded time.Duration
	// trained is the number of parameters that the whole run trains.
	trained int64
	// weights is the size of one layer's frozen weights.
	weights int64

	// What the steps of the run consist of.
	steps, sampled int
	shapes         []shape
	counts         map[shape]int // micro-batches by shape
	batches        []*microBatch
	headRows       int64 // rows of all head chunks
	largestChunk   int
	tokens, padded int64

	evalPadded, evalHeadRows int64 // of one evaluation

	// What was measured.
	forwardTime    time.Duration // of measuredTokens in one layer
	measuredTokens int64
	layerTime      map[shape]time.Duration // forward and backward of one layer
	embedTime      map[shape]time.Duration
	headTime       time.Duration // of measured rows
	headMeasured   int64
	updateTime     time.Duration
	compiled       time.Duration
	checkTime      time.Duration // with what it compiles
	layerSaved     int64
	layerInput     int64
	peak           int64
}

// chunkKey names the shapes that the programs of the head depend on.
type chunkKey struct{ width, rows int }

// shape is what the programs of the layers depend on.
type shape struct{ width, lane int }

func (m *microBatch) shape() shape { return shape{m.width, m.lane} }

// lay lays out the steps, counts their micro-batches, and keeps one of each shape and others until all shapes of
// head chunks are covered.
func (m *measurement) lay() {
	b := m.run.batches
	m.steps = m.run.state.Total
	m.sampled = min(m.steps, sampledSteps)
	m.counts = map[shape]int{}
	seen, covered := map[chunkKey]bool{}, map[shape]bool{}
	vocab := m.run.engine.config.Vocab
	for step := range m.sampled {
		for _, micro := range b.step(step) {
			m.tokens += int64(micro.tokens)
			if len(micro.places) == 0 {
				continue
			}
			fresh := !covered[micro.shape()]
			covered[micro.shape()] = true
			m.counts[micro.shape()]++
			m.padded += int64(len(micro.ids))
			for _, rows := range chunks(len(micro.places), headRows(vocab)) {
				m.headRows += int64(rows)
				m.largestChunk = max(m.largestChunk, rows)
				key := chunkKey{micro.width, rows}
				fresh = fresh || !seen[key]
				seen[key] = true
			}
			if fresh {
				m.batches = append(m.batches, micro)
			}
		}
	}
	m.shapes = slices.SortedFunc(maps.Keys(m.counts), func(a, b shape) int {
		return cmp.Or(cmp.Compare(a.width, b.width), cmp.Compare(a.lane, b.lane))
	})
	// The widest first: memory that it leaves is used by the others, as in a run.
	slices.SortStableFunc(m.batches, func(a, c *microBatch) int { return c.width - a.width })
}

// measure runs every kept micro-batch: the first time to compile, then to time it.
func (m *measurement) measure(ctx context.Context) error {
	e := m.run.engine
	m.layerTime, m.embedTime = map[shape]time.Duration{}, map[shape]time.Duration{}
	for _, b := range m.batches {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if _, known := m.layerTime[b.shape()]; known {
			if err := m.head(b); err != nil {
				return err
			}
			continue
		}
		if _, err := e.accumulate(b, 1/float64(len(b.places)), 1); err != nil {
			return err
		}
		if err := m.layer(b); err != nil {
			return err
		}
	}
	if err := m.update(); err != nil {
		return err
	}
	if err := m.evaluation(ctx); err != nil {
		return err
	}
	m.compiled = m.run.compiler.Spent()
	if m.run.adapter != nil {
		begin := time.Now()
		if _, _, err := m.run.effect(); err != nil {
			return err
		}
		m.checkTime = time.Since(begin)
	}
	m.peak = device.MemoryFacts().PeakRSS
	return nil
}

// patience is how long one shape is timed, and at least how often.
const (
	patience     = 400 * time.Millisecond
	leastRepeats = 3
)

// layer times forward and backward pass of one layer, and the head, on a micro-batch whose programs are compiled. Of
// several times the median counts.
func (m *measurement) layer(b *microBatch) error {
	e := m.run.engine
	var embeds, layers, heads []time.Duration
	for begin := time.Now(); len(layers) < leastRepeats || time.Since(begin) < patience; {
		start := time.Now()
		p, err := e.forward(b, 1)
		if err != nil {
			return err
		}
		forward := time.Since(start)
		m.forwardTime, m.measuredTokens = m.forwardTime+forward, m.measuredTokens+int64(len(b.ids))
		if m.layerSaved == 0 {
			m.layerInput = p.inputs[0].Bytes()
			m.layerSaved = bytesOf(p.saved[0]) + m.layerInput
		}
		start = time.Now()
		_, dx, err := e.loss(p, 1)
		if err != nil {
			p.free()
			return err
		}
		heads = append(heads, time.Since(start))
		start = time.Now()
		if err := e.backward(p, dx); err != nil {
			p.free()
			return err
		}
		layers = append(layers, forward+time.Since(start))
		p.free()
		embed, err := m.embed(b)
		if err != nil {
			return err
		}
		embeds = append(embeds, embed)
	}
	m.embedTime[b.shape()] = median(embeds)
	m.layerTime[b.shape()] = max(0, median(layers)-median(embeds))
	m.countHead(b, median(heads))
	return nil
}

// evaluation counts the rows for evaluation and compiles what they need, for the base and for what is trained.
func (m *measurement) evaluation(ctx context.Context) error {
	e := m.run.engine
	seen := map[shape]bool{}
	for _, b := range m.run.evalBatches {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		m.evalPadded += int64(len(b.ids))
		for _, rows := range chunks(len(b.places), headRows(e.config.Vocab)) {
			m.evalHeadRows += int64(rows)
		}
		if seen[b.shape()] {
			continue
		}
		seen[b.shape()] = true
		for _, t := range []target{bare{e.target}, quiet{e.target}} {
			if _, err := e.evaluateOn(b, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// evaluations is how often a run looks at its rows for evaluation: before the first step, every eval_steps, and at the
// end.
func (m *measurement) evaluations() int {
	every := m.run.cfg.Training.EvalSteps
	switch {
	case m.evalPadded == 0:
		return 0
	case every == 0:
		return 2
	}
	return 2 + (m.steps-1)/every
}

// embed times what a forward pass does before its first layer.
func (m *measurement) embed(b *microBatch) (time.Duration, error) {
	e := m.run.engine
	begin := time.Now()
	ids, err := model.Upload(e.compiler.Backend(), b.ids, b.rows, b.width)
	if err != nil {
		return 0, err
	}
	defer ids.Free()
	out, err := e.run("embed", nil, e.embedding(), ids) // compiled by the forward pass before
	model.FreeAll(out...)
	return time.Since(begin), err
}

// head compiles the head for the chunks of a micro-batch and times it.
func (m *measurement) head(b *microBatch) error {
	e := m.run.engine
	p, err := e.forward(b, 1)
	if err != nil {
		return err
	}
	defer p.free()
	for warm := range 2 {
		begin := time.Now()
		_, dx, err := e.loss(p, 1)
		if err != nil {
			return err
		}
		dx.Free()
		if warm == 1 {
			m.countHead(b, time.Since(begin))
		}
	}
	return nil
}

func (m *measurement) countHead(b *microBatch, took time.Duration) {
	m.headTime += took
	for _, rows := range chunks(len(b.places), headRows(m.run.engine.config.Vocab)) {
		m.headMeasured += int64(rows)
	}
}

// update times gradient norm and AdamW, on the gradients that are there.
func (m *measurement) update() error {
	e := m.run.engine
	for i := range 1 + leastRepeats {
		if i > 0 {
			if _, err := e.accumulate(m.batches[0], 1, 1); err != nil {
				return err
			}
		}
		begin := time.Now()
		if _, err := e.gradientNorm(); err != nil {
			return err
		}
		if err := e.update(1, 1e-9, 1); err != nil {
			return err
		}
		m.updateTime = time.Since(begin) // the last one counts; the first compiles
	}
	return nil
}

// oneLayerWeights is the size of the layer that was loaded, without what is trained of it.
func (m *measurement) oneLayerWeights() int64 { return bytesOf(m.run.engine.target.frozen(0)) }

func bytesOf(arrays []*model.Array) (n int64) {
	for _, a := range arrays {
		n += a.Bytes()
	}
	return n
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// result counts everything as often as the whole run has it.
func (m *measurement) result(whole *model.Config) *Estimate {
	scale := float64(m.steps) / float64(max(1, m.sampled))
	e := &Estimate{Steps: m.steps, Sampled: m.sampled, Layers: m.layers, Parameters: whole.Parameters(),
		Tokens: int64(float64(m.tokens) * scale), Padded: int64(float64(m.padded) * scale)}
	engine := m.run.engine
	here := m.run.result.TrainedParameters // of the one layer
	more := int64(m.layers - 1)
	e.TrainedParameters = m.trained

	t := &e.Time
	for _, s := range m.shapes {
		n := float64(m.counts[s]) * scale
		e.MicroBatches += int(n + 0.5)
		e.Widths = append(e.Widths, Width{s.width, s.lane, int(n + 0.5), m.layerTime[s].Seconds()})
		t.Layers += n * (float64(m.layers)*m.layerTime[s].Seconds() + m.embedTime[s].Seconds())
	}
	t.Load = m.loaded.Seconds() * float64(whole.Parameters()) / float64(engine.config.Parameters())
	t.Compile = m.compiled.Seconds()
	t.Head = m.headTime.Seconds() * float64(m.headRows) / float64(max(1, m.headMeasured)) * scale
	t.Update = m.updateTime.Seconds() * float64(m.trained) / float64(here) * float64(m.steps)
	// A forward pass in all layers, and a third of what the head costs with its two gradients.
	evaluation := float64(m.layers)*m.forwardTime.Seconds()*float64(m.evalPadded)/float64(max(1, m.measuredTokens)) +
		m.headTime.Seconds()*float64(m.evalHeadRows)/float64(max(1, m.headMeasured))/3
	t.Evaluate = float64(m.evaluations()) * evaluation
	t.Check = m.checkTime.Seconds()
	t.Total = t.Load + t.Compile + t.Layers + t.Head + t.Update + t.Evaluate + t.Check

	y := &e.Memory
	const state = 4 * 4 // bytes of value, gradient and two moments of a parameter
	y.Weights = int64(m.layers)*m.weights + m.outsideWeights()
	y.Saved = int64(m.layers) * m.layerSaved
	y.Checkpointed = y.Saved - more*(m.layerSaved-m.layerInput)
	y.Optimizer = state * e.TrainedParameters
	y.Head = 3 * 4 * int64(m.largestChunk) * int64(whole.Vocab)
	steps := m.peak + more*(m.weights+m.layerSaved) + state*(m.trained-here)
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
