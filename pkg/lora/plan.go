package lora

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"descant/pkg/job"
	"descant/pkg/model"
)

// Module is one linear layer that gets an adapter.
type Module struct {
	// Name is the module's name in the base checkpoint, Local the same within its layer.
	Name, Local string
	In, Out     int
	// Input is the place in model.Config.SharedInputs: modules with the same one are computed from the same input.
	Input int
	Rank  int
	// Scale is what the product of the two matrices is multiplied with.
	Scale float64
	// A and B are the offsets of the matrices in the layer's flat array.
	A, B int
}

// Plan says which modules of a model get an adapter, and where their matrices lie. It is the [model.Patch] of
// a LoRA adapter.
type Plan struct {
	Config *Config
	// Layers lists the modules of every decoder layer.
	Layers [][]Module

	dropout float64
}

var _ model.Patch = (*Plan)(nil)

// NewPlan finds the modules that the configuration names.
func NewPlan(cfg *model.Config, c *Config) (*Plan, error) {
	match, err := newMatcher(c)
	if err != nil {
		return nil, err
	}
	p := &Plan{Config: c, Layers: make([][]Module, cfg.Layers), dropout: c.Dropout}
	used := map[string]bool{}
	count := 0
	for layer := range cfg.Layers {
		offset := 0
		for _, proj := range cfg.Projections() {
			name := model.LayerPrefix(layer) + proj.Module
			target, ok := match.target(name)
			if !ok || c.restricted(layer, target, name) {
				continue
			}
			used[target] = true
			input := slices.IndexFunc(cfg.SharedInputs(), func(list []model.Projection) bool { return slices.Contains(list, proj) })
			m := Module{Name: name, Local: proj.Module, In: proj.In, Out: proj.Out, Input: input}
			m.Rank = int(match.value(match.ranks, name, float64(c.R)))
			alpha := match.value(match.alphas, name, c.Alpha)
			m.Scale = alpha / float64(m.Rank)
			if c.RSLora {
				m.Scale = alpha / math.Sqrt(float64(m.Rank))
			}
			m.A, m.B = offset, offset+m.Rank*m.In
			offset = m.B + m.Out*m.Rank
			p.Layers[layer] = append(p.Layers[layer], m)
			count++
		}
	}
	if count == 0 {
		return nil, fmt.Errorf("no linear layer of the model is named by target_modules %s", c.targetText())
	}
	for _, target := range c.Targets {
		if !used[target] {
			return nil, fmt.Errorf("target module %q is none of the linear layers that can have an adapter: "+
				"q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj", target)
		}
	}
	return p, nil
}

// restricted says whether the restriction to layers leaves a module out that a target names. It says nothing to a
// module that is given by its whole name.
func (c *Config) restricted(layer int, target, name string) bool {
	return c.leavesOut(layer) && target != name && c.TargetPattern == ""
}

// leavesOut says whether the adapter is restricted to other layers.
func (c *Config) leavesOut(layer int) bool {
	return len(c.Layers) > 0 && !slices.Contains(c.Layers, layer)
}

func (c *Config) targetText() string {
	if c.TargetPattern != "" {
		return fmt.Sprintf("%q", c.TargetPattern)
	}
	return strings.Join(c.Targets, ", ")
}

// Signature implements [model.Patch].
func (p *Plan) Signature(layer int) string {
	var b strings.Builder
	for _, m := range p.Layers[layer] {
		fmt.Fprintf(&b, "%s:%d:%g;", m.Local, m.Rank, m.Scale)
	}
	return b.String()
}

// Size implements [model.Patch].
func (p *Plan) Size(layer int) int {
	n := 0
	for _, m := range p.Layers[layer] {
		n += m.Rank * (m.In + m.Out)
	}
	return n
}

// Parameters is the number of trained parameters.
func (p *Plan) Parameters() int64 {
	var n int64
	for i := range p.Layers {
		n += int64(p.Size(i))
	}
	return n
}

// matcher decides by name which modules get an adapter, and its rank and alpha.
type matcher struct {
	config *Config
	whole  *regexp.Regexp
	ranks  []compiled
	alphas []compiled
}

type compiled struct {
	key   string
	re    *regexp.Regexp
	value float64
}

func newMatcher(c *Config) (*matcher, error) {
	m := &matcher{config: c}
	var err error
	if c.TargetPattern != "" {
		if m.whole, err = job.PythonRegexp(c.TargetPattern); err != nil {
			return nil, fmt.Errorf("target_modules %q: %w", c.TargetPattern, err)
		}
	}
	if m.ranks, err = compilePatterns("rank_pattern", c.RankPattern); err != nil {
		return nil, err
	}
	m.alphas, err = compilePatterns("alpha_pattern", c.AlphaPattern)
	return m, err
}

func compilePatterns(field string, list []Pattern) ([]compiled, error) {
	var out []compiled
	for _, p := range list {
		re, err := p.Regexp()
		if err != nil {
			return nil, fmt.Errorf("%s: key %q: %w", field, p.Key, err)
		}
		out = append(out, compiled{p.Key, re, p.Value})
	}
	return out, nil
}

// target tells whether a module gets an adapter and which target names it.
func (m *matcher) target(name string) (string, bool) {
	if m.whole != nil {
		return "", m.whole.MatchString(name)
	}
	for _, target := range m.config.Targets {
		if target == AllLinear || name == target || strings.HasSuffix(name, "."+target) {
			return target, true
		}
	}
	return "", false
}

func (m *matcher) value(list []compiled, name string, fallback float64) float64 {
	for _, c := range list {
		if c.re.MatchString(name) {
			return c.value
		}
	}
	return fallback
}
