package generate

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"descant/pkg/model"

	"golang.org/x/sync/errgroup"
)

// program compiles once, when it is first wanted or when its turn comes.
type program struct {
	get   func() (*model.Program, error)
	ready atomic.Pointer[model.Program]
}

func newProgram(compile func() (*model.Program, error)) *program {
	p := &program{}
	p.get = sync.OnceValues(func() (*model.Program, error) {
		compiled, err := compile()
		p.ready.Store(compiled)
		return compiled, err
	})
	return p
}

// run runs the program, and compiles it before if need be.
func (p *program) run(inputs ...*model.Array) ([]*model.Array, error) {
	compiled, err := p.get()
	if err != nil {
		return nil, err
	}
	return compiled.Run(inputs...)
}

// batchShape names the programs that do not depend on the context.
type batchShape struct{ rows, tokens int }

// programs are all executables that the steps of an engine can need.
type programs struct {
	layers map[layerShape]*program
	embeds map[batchShape]*program
	heads  map[batchShape]*program

	stop atomic.Bool
	warm chan struct{}
	err  error // of the background; read after warm is closed
}

// newPrograms prepares the programs of the batches over caches of the contexts. Those of the first `needed` batches
// and of the smallest context are compiled now, the rest in the background: an engine that starts in a second
// answers its first question while the programs for long ones are still being made.
func newPrograms(c *model.Compiler, plan layerPlan, batches []batchShape, needed int, contexts []int) (*programs, error) {
	p := &programs{
		layers: map[layerShape]*program{}, embeds: map[batchShape]*program{}, heads: map[batchShape]*program{},
		warm: make(chan struct{}),
	}
	var now, later []*program
	for i, b := range batches {
		p.embeds[b] = newProgram(func() (*model.Program, error) { return compileEmbed(c, plan.config, b.rows, b.tokens) })
		p.heads[b] = newProgram(func() (*model.Program, error) { return compileHead(c, plan.config, b.rows, b.tokens) })
		list := &later
		if i < needed {
			list = &now
		}
		*list = append(*list, p.embeds[b], p.heads[b])
	}
	for k, context := range contexts {
		for i, b := range batches {
			for _, shape := range layerShapes(plan.config, b, context) {
				p.layers[shape] = newProgram(func() (*model.Program, error) { return compileLayer(c, plan, shape) })
				if k == 0 && i < needed {
					// The layers take longest: first in line.
					now = append([]*program{p.layers[shape]}, now...)
				} else {
					later = append(later, p.layers[shape])
				}
			}
		}
	}
	var group errgroup.Group
	group.SetLimit(2)
	for _, program := range now {
		group.Go(func() error {
			_, err := program.get()
			return err
		})
	}
	if err := group.Wait(); err != nil {
		close(p.warm)
		p.close()
		return nil, err
	}
	go p.compileRest(later)
	return p, nil
}

func (p *programs) compileRest(list []*program) {
	defer close(p.warm)
	for _, program := range list {
		if p.stop.Load() {
			return
		}
		if _, err := program.get(); err != nil {
			p.err = fmt.Errorf("prepare the engine: %w", err)
			return
		}
	}
}

// layerShapeOf is the shape of a layer's program. A window that reaches over all of the context hides nothing, so that
// such a layer needs no program of its own.
func layerShapeOf(cfg *model.Config, layer int, b batchShape, context int) layerShape {
	window := cfg.Window(layer)
	if window >= context+b.tokens {
		window = 0
	}
	return layerShape{b.rows, b.tokens, context, window}
}

// layerShapes lists the different shapes of all layers.
func layerShapes(cfg *model.Config, b batchShape, context int) (list []layerShape) {
	for layer := range cfg.Layers {
		if shape := layerShapeOf(cfg, layer, b, context); !slices.Contains(list, shape) {
			list = append(list, shape)
		}
	}
	return list
}

// has says whether a batch of this shape can run over this context without compiling.
func (p *programs) has(cfg *model.Config, b batchShape, context int) bool {
	if p.embeds[b] == nil || p.embeds[b].ready.Load() == nil || p.heads[b].ready.Load() == nil {
		return false
	}
	for _, shape := range layerShapes(cfg, b, context) {
		if layer := p.layers[shape]; layer == nil || layer.ready.Load() == nil {
			return false
		}
	}
	return true
}

// close waits for the program that is being compiled and frees all.
func (p *programs) close() {
	p.stop.Store(true)
	<-p.warm
	free := func(program *program) { program.ready.Load().Close() }
	for _, program := range p.layers {
		free(program)
	}
	for b := range p.embeds {
		free(p.embeds[b])
		free(p.heads[b])
	}
}
