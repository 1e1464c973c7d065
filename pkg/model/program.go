package model

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"descant/pkg/device"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/support/exceptions"
)

// Compiler turns graph functions into programs for one device and counts them: in steady state nothing may
// compile.
type Compiler struct {
	backend compute.Backend
	count   atomic.Int64
	spent   atomic.Int64
}

// NewCompiler compiles for the given backend.
func NewCompiler(backend compute.Backend) *Compiler { return &Compiler{backend: backend} }

// NewFastCompiler is [NewCompiler] with [device.Fastest]. How the sums of products in oneDNN are ordered may depend on the number of rows.
func NewFastCompiler(backend compute.Backend) *Compiler { return NewCompiler(device.Fastest(backend)) }

// Backend is the backend that programs run on.
func (c *Compiler) Backend() compute.Backend { return c.backend }

// Compilations is the number of programs compiled so far.
func (c *Compiler) Compilations() int { return int(c.count.Load()) }

// Spent is the time that compiling has taken so far.
func (c *Compiler) Spent() time.Duration { return time.Duration(c.spent.Load()) }

// Program is a compiled graph. It may be run from several goroutines, unless it takes donations.
type Program struct {
	name   string
	inputs []shapes.Shape
	output []shapes.Shape
	exec   compute.Executable
	// donated says of each input whether a run takes its memory; nil if of none.
	donated []bool
}

// Donation gives the memory of an input to an output of the same shape, by their places.
type Donation struct{ Input, Output int }

// Compile builds a graph whose parameters have the given shapes and compiles it. build panics on errors, as
// graph functions do; the panic comes back as an error here.
func (c *Compiler) Compile(name string, inputs []shapes.Shape, build func(g *Graph, in []*Node) []*Node, donations ...Donation) (*Program, error) {
	start := time.Now()
	p := &Program{name: name, inputs: inputs}
	parameter := func(i int) string { return fmt.Sprintf("in%d", i) }
	outputs := map[string]int{}
	for _, d := range donations {
		if p.donated == nil {
			p.donated = make([]bool, len(inputs))
		}
		p.donated[d.Input], outputs[parameter(d.Input)] = true, d.Output
	}
	var compileErr error
	err := exceptions.TryCatch[error](func() {
		backend := c.backend
		if len(outputs) > 0 {
			backend = device.Donating(backend, outputs)
		}
		g := NewGraph(backend, name)
		params := make([]*Node, len(inputs))
		for i, shape := range inputs {
			params[i] = Parameter(g, parameter(i), shape)
		}
		compileErr = g.Compile(build(g, params)...)
		p.exec = g.Executable()
	})
	if err = errors.Join(err, compileErr); err != nil {
		return nil, fmt.Errorf("compile %s for %s: %w", name, c.backend.Name(), err)
	}
	device.GiveBackFreed() // what the compiler has used
	p.output = p.exec.Outputs()
	c.count.Add(1)
	c.spent.Add(int64(time.Since(start)))
	return p, nil
}

// Run executes the program. The inputs stay valid and remain the caller's to free, as do the outputs. Only donated inputs are freed, even
// if the run fails.
func (p *Program) Run(inputs ...*Array) ([]*Array, error) {
	if len(inputs) != len(p.inputs) {
		return nil, fmt.Errorf("run %s: %d inputs given, %d expected", p.name, len(inputs), len(p.inputs))
	}
	buffers := make([]compute.Buffer, len(inputs))
	for i, in := range inputs {
		// The backend itself looks at dtypes only.
		if in == nil || in.buffer == nil || !in.shape.Equal(p.inputs[i]) {
			return nil, fmt.Errorf("run %s: input %d is %v, expected %s", p.name, i, in.describe(), p.inputs[i])
		}
		buffers[i] = in.buffer
	}
	results, err := p.exec.Execute(buffers, p.donated, 0)
	for i, donated := range p.donated {
		if donated {
			inputs[i].Free() // what is left of it
		}
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", p.name, err)
	}
	outputs := make([]*Array, len(results))
	for i, buffer := range results {
		outputs[i] = &Array{shape: p.output[i], buffer: buffer}
	}
	return outputs, nil
}

// Close frees the compiled code.
func (p *Program) Close() {
	if p != nil && p.exec != nil {
		p.exec.Finalize()
		p.exec = nil
	}
}

func (a *Array) describe() string {
	switch {
	case a == nil:
		return "missing"
	case a.buffer == nil:
		return "freed " + a.shape.String()
	}
	return a.shape.String()
}
