package generate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"descant/pkg/lora"
)

// writeSlice is about how long the loop may be held up between two steps by the writing of an adapter.
const writeSlice = 4 * time.Millisecond

// Weights are an adapter in host memory, read and checked for one base.
type Weights struct {
	adapter *lora.Adapter
	width   int // columns
	digest  string
}

// Bytes is the host memory that the weights take.
func (w *Weights) Bytes() int64 { return 4 * w.adapter.Parameters() }

// ReadAdapter reads a folder that PEFT (or pkg/lora) wrote into host memory.
func (e *Engine) ReadAdapter(dir string) (*Weights, error) {
	adapter, err := readAdapter(e.steps.base.Config, dir)
	if err != nil {
		return nil, err
	}
	return newWeights(adapter), nil
}

func newWeights(adapter *lora.Adapter) *Weights {
	return &Weights{adapter: adapter, width: widthOf(adapter), digest: digestOf(adapter)}
}

// Part is an adapter in a combination.
type Part struct {
	Weights *Weights
	// Factor is 0 or more.
	Factor float64
}

// Combine makes one adapter of several, as PEFT does: see [lora.Linear].
func Combine(parts ...Part) (*Weights, error) {
	var adapters []*lora.Adapter
	var factors []float64
	for _, part := range parts {
		adapters, factors = append(adapters, part.Weights.adapter), append(factors, part.Factor)
	}
	sum, err := lora.Linear(adapters, factors)
	if err != nil {
		return nil, err
	}
	return newWeights(sum), nil
}

// LoadAdapter is ReadAdapter and [Engine.Load].
func (e *Engine) LoadAdapter(ctx context.Context, key, dir string) error {
	weights, err := e.ReadAdapter(dir)
	if err != nil {
		return fmt.Errorf("load adapter %q: %w", key, err)
	}
	return e.Load(ctx, key, weights)
}

// Load serves an adapter under key; requests that are running with an adapter of the same key finish with that one.
// Between two steps it writes for a few milliseconds, so that nobody's answer stands still meanwhile. It returns when
// the adapter is ready, with [ErrSlotsFull] if there is no room.
func (e *Engine) Load(ctx context.Context, key string, w *Weights) error {
	if key == "" {
		return errors.New("load adapter: the empty key is the bare base: give a name")
	}
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return ErrClosed
	}
	a, err := e.adapters.reserve(key, w.width)
	if before := e.adapters.byKey[key]; err != nil && before != nil && before.users == 0 {
		// There is no room for both, and nobody would notice the gap.
		e.adapters.retire(before)
		a, err = e.adapters.reserve(key, w.width)
	}
	e.mu.Unlock()
	if err != nil {
		return err
	}
	a.digest = w.digest
	for layer := 0; layer < len(w.adapter.Layers) && err == nil; {
		err = e.order(ctx, func() error {
			for began := time.Now(); layer < len(w.adapter.Layers) && time.Since(began) < writeSlice; layer++ {
				if err := e.steps.adapters.write(layer, a, w.adapter); err != nil {
					return err
				}
			}
			return nil
		})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.adapters.retire(a)
		return err
	}
	e.adapters.publish(a)
	return nil
}

// Probe returns the logits [vocab] behind a prompt with a loaded adapter, or "" for the base. It runs in the batch like
// any request.
func (e *Engine) Probe(ctx context.Context, key string, prompt []int32) (logits []float32, err error) {
	_, err = e.Generate(ctx, Request{Adapter: key, Prompt: prompt, MaxTokens: 1, probe: func(got []float32) { logits = slices.Clone(got) }}, nil)
	return logits, err
}
