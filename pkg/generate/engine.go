package generate

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"descant/pkg/device"
	"descant/pkg/model"

	"github.com/gomlx/compute"
)

// Engine serves one base model. All its methods may be called from any goroutine.
type Engine struct {
	opts  Options
	vocab int
	steps *stepper
	// prefixes is nil without a prefix cache; only the loop uses it.
	prefixes *prefixes
	// pace is how long steps take; only the loop uses it.
	pace pace

	mu       sync.Mutex
	adapters adapterTable
	waiting  queue
	orders   []order
	closed   bool
	stats    Stats

	wake    chan struct{} // one pending wake-up is enough
	stopped chan struct{}
}

// order is work for the loop between two steps.
type order struct {
	run  func() error
	done chan error
}

// Stats counts what an engine has done since it was made.
type Stats struct {
	// Compilations does not grow any more once [Engine.Warm] has returned.
	Compilations int
	// Rows are in use now, Waiting wait for one; Steps counts decode steps, the tokens are those computed.
	Rows, Waiting                     int
	Steps, PromptTokens, OutputTokens int64
	// CachedTokens of prompts were taken from the prefix cache instead of computed; CacheBytes is what it holds now.
	CachedTokens, CacheBytes int64
	// DraftedTokens were proposed by looking back in the text, AcceptedTokens of them were right.
	DraftedTokens, AcceptedTokens int64
}

// New loads the base of a model folder on the device, compiles what short requests need and starts the loop. The
// programs for long prompts and contexts are compiled in the background; [Engine.Warm] waits for them. Close ends it.
func New(dev *device.Device, baseDir string, opts Options) (*Engine, error) {
	if dev.Kind() == device.Go {
		if opts.DType == BF16 {
			return nil, fmt.Errorf("start engine: %w", model.ErrNoBF16)
		}
		if opts.LoraDType == BF16 {
			return nil, fmt.Errorf("start engine: dtype of adapters: %w", model.ErrNoBF16)
		}
	}
	return newEngine(dev.Backend(), baseDir, opts)
}

func newEngine(backend compute.Backend, baseDir string, opts Options) (*Engine, error) {
	load := model.LoadHalvesOn
	if opts.DType == BF16 {
		load = model.LoadBF16On
	}
	base, err := load(backend, baseDir)
	if err != nil {
		return nil, fmt.Errorf("start engine: %w", err)
	}
	opts, err = opts.withDefaults(base.Config)
	if err != nil {
		base.Close()
		return nil, fmt.Errorf("start engine: %w", err)
	}
	if opts.PrefixCache, err = prefixCache(opts.PrefixCache, backend.HasSharedBuffers()); err != nil {
		base.Close()
		return nil, fmt.Errorf("start engine: %w", err)
	}
	steps, err := newStepper(backend, base, opts, fastest())
	if err != nil {
		base.Close()
		return nil, fmt.Errorf("start engine: %w", err)
	}
	e := &Engine{
		opts: opts, vocab: base.Config.Vocab, steps: steps,
		adapters: adapterTable{columns: steps.plan.adapters.columns, byKey: map[string]*adapter{}},
		wake:     make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	if opts.PrefixCache > 0 {
		e.prefixes = newPrefixes(opts.PrefixCache)
	}
	go e.loop()
	return e, nil
}

// Close ends all requests with [ErrClosed], waits for the step under way and frees the memory.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.signal()
	<-e.stopped
}

// Warm waits until everything that a request can need is compiled.
func (e *Engine) Warm(ctx context.Context) error {
	select {
	case <-e.steps.programs.warm:
		return e.steps.programs.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// MaxContext is the longest prompt and output together, in tokens.
func (e *Engine) MaxContext() int { return e.opts.MaxContext }

// Stats gives a snapshot of the counters.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Waiting, s.Compilations = len(e.waiting.list), e.steps.compiler.Compilations()
	return s
}

// signal wakes the loop if it sleeps.
func (e *Engine) signal() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// UnloadAdapter stops serving key; requests that run with it finish. It says whether the key was loaded.
func (e *Engine) UnloadAdapter(key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.adapters.byKey[key]
	if a == nil {
		return false
	}
	e.adapters.retire(a)
	return true
}

// Adapters lists the keys that are loaded, sorted.
func (e *Engine) Adapters() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var keys []string
	for key := range e.adapters.byKey {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// order has the loop run a function between two steps. Once given it is always run, or refused when the engine
// closes: its effect must not happen after the caller was told that it did not.
func (e *Engine) order(ctx context.Context, run func() error) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	o := order{run: run, done: make(chan error, 1)}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return ErrClosed
	}
	e.orders = append(e.orders, o)
	e.mu.Unlock()
	e.signal()
	return <-o.done
}
