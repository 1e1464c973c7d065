package train

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"descant/pkg/device"
	"descant/pkg/model"
)

// measurement is the run of few layers that an estimate is made from.
type measurement struct {
	run *run
	// layers are those of the whole model, built those that are here; lowest is the lowest that the whole run trains.
	layers, built, lowest int
	prepared              time.Duration // loading and the rows
	// trained is the number of parameters that the whole run trains.
	trained int64
	// weights is the size of one layer's frozen weights.
	weights int64

	// What the steps of the run consist of.
	steps, sampled int
	shapes         []shape
	counts         map[shape]int // micro-batches by shape
	batches        []*microBatch
	headChunks     int   // chunks of the head
	headRows       int64 // rows of all of them
	largestChunk   int
	tokens, padded int64

	evals []evalCost // of one evaluation, by micro-batch

	// What was measured.
	costs      map[shape]layerCost
	heads      []headSample
	evalTime   map[shape]time.Duration // of a micro-batch for evaluation in the layers that are here
	updateTime time.Duration
	compiled   time.Duration
	saveTime   time.Duration // of one checkpoint
	checkTime  time.Duration // with what it compiles
	layerSaved int64
	layerInput int64
	peak       int64
}

// layerCost is what a micro-batch takes in one layer, and before the first.
type layerCost struct {
	// inner is the backward pass of a layer that has a trained one below it, bottom that of the lowest trained layer, with the
	// embedding where it is trained.
	embed, forward, inner, bottom time.Duration
}

// whole is the time of a micro-batch in all layers, of which those below the lowest trained one have no backward pass.
func (c layerCost) whole(layers, lowest int) time.Duration {
	if lowest >= layers {
		return c.embed + time.Duration(layers)*c.forward
	}
	return c.embed + time.Duration(layers)*c.forward + time.Duration(layers-1-lowest)*c.inner + c.bottom
}

// evalCost is a micro-batch for evaluation.
type evalCost struct {
	shape  shape
	chunks int
	rows   int64 // of its chunks
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
			for _, rows := range m.chunksOf(micro) {
				m.headChunks++
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
	for _, micro := range m.run.evalBatches {
		cost := evalCost{shape: micro.shape()}
		for _, rows := range m.chunksOf(micro) {
			cost.chunks++
			cost.rows += int64(rows)
		}
		m.evals = append(m.evals, cost)
	}
}

func (m *measurement) chunksOf(b *microBatch) []int {
	return chunks(len(b.places), m.run.engine.headRows())
}

// measure runs every kept micro-batch: the first time to compile, then to time it.
func (m *measurement) measure(ctx context.Context) error {
	m.costs = map[shape]layerCost{}
	for _, b := range m.batches {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if _, known := m.costs[b.shape()]; known {
			if err := m.head(b); err != nil {
				return err
			}
			continue
		}
		if _, err := m.run.engine.accumulate(b, 1/float64(len(b.places)), 1); err != nil {
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
	return m.save() // behind the peak: what it takes is counted by itself
}

// patience is how long one shape is timed, and at least how often. Of several times the median counts: another process that
// takes the processors for a moment, or a frequency that is still rising, moves it least.
const (
	patience     = time.Second
	leastRepeats = 5
)

// layer times both passes of the layers, and the head, on a micro-batch whose programs are compiled. The lowest layer and the
// others are timed apart.
func (m *measurement) layer(b *microBatch) error {
	e := m.run.engine
	var embeds, forwards, inners, bottoms, heads []time.Duration
	for begin := time.Now(); len(forwards) < leastRepeats || time.Since(begin) < patience; {
		start := time.Now()
		p, err := e.forward(b, 1)
		if err != nil {
			return err
		}
		forwards = append(forwards, time.Since(start))
		if m.layerSaved == 0 {
			m.layerInput = p.inputs[0].Bytes()
			m.layerSaved = bytesOf(p.saved[0]) + m.layerInput
		}
		head, inner, bottom, err := m.pull(p)
		p.free()
		if err != nil {
			return err
		}
		heads, bottoms = append(heads, head), append(bottoms, bottom)
		if m.built > 1 {
			inners = append(inners, inner)
		}
		embed, err := m.embed(b)
		if err != nil {
			return err
		}
		embeds = append(embeds, embed)
	}
	cost := layerCost{embed: median(embeds), bottom: median(bottoms)}
	cost.forward = max(0, median(forwards)-cost.embed) / time.Duration(m.built)
	if m.built > 1 {
		cost.inner = median(inners)
	}
	m.costs[b.shape()] = cost
	m.headTook(b, median(heads))
	return nil
}

// pull times the head and the backward pass: inner is that of the last layer, bottom that of the first.
func (m *measurement) pull(p *passed) (head, inner, bottom time.Duration, err error) {
	e := m.run.engine
	start := time.Now()
	_, dx, err := e.loss(p, 1)
	if err != nil {
		return 0, 0, 0, err
	}
	head = time.Since(start)
	for i := m.built - 1; i > 0; i-- {
		start = time.Now()
		if dx, err = e.pull(p, i, dx); err != nil {
			return 0, 0, 0, err
		}
		inner = time.Since(start)
	}
	start = time.Now()
	if dx, err = e.pull(p, 0, dx); err == nil {
		err = e.pullEmbedding(p, dx)
	}
	return head, inner, time.Since(start), err
}

// head compiles and times the head on a micro-batch with other chunks than that of its shape which was timed. The first
// layer's input does for the last one's output: it has the same shape.
func (m *measurement) head(b *microBatch) error {
	e := m.run.engine
	p := &passed{batch: b}
	var err error
	if p.ids, err = model.Upload(e.compiler.Backend(), b.ids, b.rows, b.width); err != nil {
		return err
	}
	defer p.free()
	if p.inputs, err = e.run("embed", embedGraph, e.embedding(), p.ids); err != nil {
		return err
	}
	var times []time.Duration
	for range 1 + leastRepeats {
		begin := time.Now()
		_, dx, err := e.loss(p, 1)
		if err != nil {
			return err
		}
		times = append(times, time.Since(begin))
		dx.Free()
	}
	m.headTook(b, median(times[1:])) // the first one compiles
	return nil
}

func (m *measurement) headTook(b *microBatch, took time.Duration) {
	sample := headSample{seconds: took.Seconds()}
	for _, rows := range m.chunksOf(b) {
		sample.chunks++
		sample.rows += float64(rows)
	}
	m.heads = append(m.heads, sample)
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
	out, err := e.run("embed", embedGraph, e.embedding(), ids) // compiled by the forward pass before
	model.FreeAll(out...)
	return time.Since(begin), err
}

// evaluation compiles what the rows for evaluation need, for the base and for what is trained, and times it.
func (m *measurement) evaluation(ctx context.Context) error {
	e := m.run.engine
	m.evalTime = map[shape]time.Duration{}
	for _, b := range m.run.evalBatches {
		if _, known := m.evalTime[b.shape()]; known {
			continue
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		var times []time.Duration
		for _, t := range []target{bare{e.target}, quiet{e.target}, quiet{e.target}, quiet{e.target}, quiet{e.target}} {
			begin := time.Now()
			if _, err := e.evaluateOn(b, t); err != nil {
				return err
			}
			times = append(times, time.Since(begin))
		}
		m.evalTime[b.shape()] = median(times[2:]) // the first two compiled
	}
	return nil
}

// evaluationCost is the time of one evaluation in all layers. Its head has no gradient: of its products in training, two of a
// frozen head and three of a trained one, one is left.
func (m *measurement) evaluationCost(head headCost, frozen bool) (seconds float64) {
	products := 3.0
	if frozen {
		products = 2
	}
	for _, b := range m.evals {
		all, top := m.evalTime[b.shape].Seconds(), head.cost(b.chunks, b.rows)/products
		seconds += max(0, all-top)*float64(m.layers)/float64(m.built) + top
	}
	return seconds
}

// evaluations is how often a run looks at its rows for evaluation: before the first step, every eval_steps, and at the
// end.
func (m *measurement) evaluations() int {
	every := m.run.cfg.Training.EvalSteps
	switch {
	case len(m.evals) == 0:
		return 0
	case every == 0:
		return 2
	}
	return 2 + (m.steps-1)/every
}

// update times gradient norm and AdamW. Gradients of zero take as long as others.
func (m *measurement) update() error {
	e := m.run.engine
	var times []time.Duration
	for range 1 + leastRepeats {
		begin := time.Now()
		if _, err := e.gradientNorm(); err != nil {
			return err
		}
		if err := e.update(1, 1e-9, 1); err != nil {
			return err
		}
		times = append(times, time.Since(begin))
	}
	m.updateTime = median(times[1:]) // the first one compiles
	return nil
}

// save times a checkpoint. It is stored after it is written, which reads it once more and is taken to last as long.
func (m *measurement) save() error {
	begin := time.Now()
	err := saveCheckpoint(m.run.engine, m.run.state, filepath.Join(m.run.cfg.BaseDir, "checkpoint"), "", func(string) {})
	var bad *NotFiniteError
	if errors.As(err, &bad) {
		return nil // made-up weights may do that; a checkpoint then counts nothing
	}
	m.saveTime = 2 * time.Since(begin)
	return err
}

// oneLayerWeights is the size of a layer's weights, without what is trained of it.
func (m *measurement) oneLayerWeights() int64 { return bytesOf(m.run.engine.target.frozen(0)) }

func bytesOf(arrays []*model.Array) (n int64) {
	for _, a := range arrays {
		n += a.Bytes()
	}
	return n
}

func median(times []time.Duration) time.Duration {
	times = slices.Sorted(slices.Values(times))
	return times[len(times)/2]
}
