package generate

import (
	"fmt"
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

// programs are all executables that the steps of an engine can need.
type programs struct {
	layers map[layerShape]*program
	embeds map[batchShape]*program
	heads  map[batchShape]*program

	stop atomic.Bool
	warm chan struct{}
	err  error // of the background; read after warm is closed
}

// newPrograms prepares the programs of the shapes over caches of the contexts. Those of the first `required` shapes
// and of the smallest context are compiled now, the rest in the background: an engine that starts in a second
// answers its first question while the programs for long ones are still being made.
func newPrograms(c *model.Compiler, plan layerPlan, list []stepShape, required int, contexts []int) (*programs, error) {
	p := &programs{
		layers: map[layerShape]*program{}, embeds: map[batchShape]*program{}, heads: map[batchShape]*program{},
		warm: make(chan struct{}),
	}
	var now, later []*program
	for i, s := range list {
		b := s.batchShape
		if p.embeds[b] != nil {
			continue
		}
		p.embeds[b] = newProgram(func() (*model.Program, error) { return compileEmbed(c, plan, b) })
		fresh := []*program{p.embeds[b]}
		if b := plan.wanted(b); p.heads[b] == nil {
			p.heads[b] = newProgram(func() (*model.Program, error) { return compileHead(c, plan, b) })
			fresh = append(fresh, p.heads[b])
		}
		if i < required {
			now = append(now, fresh...)
		} else {
			later = append(later, fresh...)
		}
	}
	for k, context := range contexts {
		for i, s := range list {
			for _, shape := range plan.layerShapes(s, context) {
				p.layers[shape] = newProgram(func() (*model.Program, error) { return compileLayers(c, plan, shape) })
				if k == 0 && i < required {
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

// has says whether a step of this shape can run over this context without compiling.
func (p *programs) has(plan layerPlan, s stepShape, context int) bool {
	b := s.batchShape
	if p.embeds[b] == nil || p.embeds[b].ready.Load() == nil || p.heads[plan.wanted(b)].ready.Load() == nil {
		return false
	}
	for _, shape := range plan.layerShapes(s, context) {
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
	for _, program := range p.embeds {
		free(program)
	}
	for _, program := range p.heads {
		free(program)
	}
}
