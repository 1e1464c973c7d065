package lora

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"descant/pkg/job"
	"descant/pkg/model"
)

// FromTraining is the configuration of an adapter that a training asks for. baseName is what
// base_model_name_or_path will say.
func FromTraining(t job.Training, baseName string) *Config {
	c := &Config{
		R: t.R, Alpha: t.LoraAlpha, Dropout: t.LoraDropout, RSLora: t.UseRSLora, RankPattern: t.RankPattern,
		AlphaPattern: t.AlphaPattern, Layers: t.LayersToTransform, Init: t.InitLoraWeights, BaseName: baseName,
	}
	if pattern, ok := t.TargetModules.Pattern(); ok {
		c.TargetPattern = pattern
	} else {
		c.Targets = t.TargetModules
	}
	return c
}

// PlanTraining is [NewPlan] for a new adapter. PEFT lets pass what has no effect; here it is a mistake of the request:
// targets and patterns that no module matches, and layers that the model lacks. Its errors are user errors with the
// whole list, and with the modules that there are.
func PlanTraining(cfg *model.Config, t job.Training, baseName string) (*Plan, error) {
	c := FromTraining(t, baseName)
	problems := c.unreached(cfg)
	for _, layer := range t.LayersToTransform {
		if layer >= cfg.Layers {
			problems = append(problems, job.Problem{Field: "layers_to_transform", Found: strconv.Itoa(layer),
				Reason: fmt.Sprintf("the base has %d layers", cfg.Layers), Next: fmt.Sprintf("use numbers from 0 to %d", cfg.Layers-1)})
		}
	}
	refused := func() error {
		return job.UserError(job.CodeBadRequest, "the adapter does not fit the base", "correct the request and send it again", problems...)
	}
	if len(problems) > 0 {
		return nil, refused()
	}
	plan, err := NewPlan(cfg, c)
	if err != nil {
		return nil, job.UserError(job.CodeBadRequest, err.Error(), "correct target_modules and layers_to_transform")
	}
	problems = append(plan.unmatched("rank_pattern", t.RankPattern), plan.unmatched("alpha_pattern", t.AlphaPattern)...)
	if len(problems) > 0 {
		return nil, refused()
	}
	return plan, nil
}

// unreached lists the targets that name no module of a model.
func (c *Config) unreached(cfg *model.Config) (problems []job.Problem) {
	match, err := newMatcher(c)
	if err != nil {
		return []job.Problem{{Field: "target_modules", Reason: err.Error()}}
	}
	named, adapted := map[string]bool{}, map[string]bool{}
	for layer := range cfg.Layers {
		for _, proj := range cfg.Projections() {
			name := model.LayerPrefix(layer) + proj.Module
			target, ok := match.target(name)
			named[target] = named[target] || ok
			adapted[target] = adapted[target] || ok && !c.restricted(layer, target, name)
		}
	}
	targets, text := c.Targets, strconv.Quote
	if c.TargetPattern != "" {
		targets, text = []string{""}, func(string) string { return strconv.Quote(c.TargetPattern) }
	}
	for _, target := range targets {
		p := job.Problem{Field: "target_modules", Found: text(target), Reason: "no linear layer of the model is named so", Next: "use of " + modulesText(cfg)}
		if named[target] {
			p.Reason += " in layers_to_transform"
			p.Next = "name other layers or modules"
		}
		if !adapted[target] {
			problems = append(problems, p)
		}
	}
	return problems
}

// modulesText names the modules of a model that can have an adapter.
func modulesText(cfg *model.Config) string {
	var names []string
	for _, proj := range cfg.Projections() {
		names = append(names, proj.Module)
	}
	return fmt.Sprintf("%s, each below %s to %s", strings.Join(names, ", "), strings.TrimSuffix(model.LayerPrefix(0), "."),
		strings.TrimSuffix(model.LayerPrefix(cfg.Layers-1), "."))
}

// unmatched lists the patterns that name no module of the adapter, or none that is left for them.
func (p *Plan) unmatched(field string, list []Pattern) (problems []job.Problem) {
	used := map[string]bool{}
	compiled, err := compilePatterns(field, list)
	if err != nil { // the plan could not have been made
		return []job.Problem{{Field: field, Reason: err.Error()}}
	}
	for _, modules := range p.Layers {
		for _, m := range modules {
			for _, one := range compiled {
				if one.re.MatchString(m.Name) {
					used[one.key] = true
					break
				}
			}
		}
	}
	for _, one := range list {
		if !used[one.Key] {
			problems = append(problems, job.Problem{Field: field, Found: strconv.Quote(one.Key), Reason: "gives its value to no module of the adapter",
				Next: "the adapter has " + p.list() + "; correct the key or remove it: the first key in sorted order wins, and a module needs to be named by target_modules too"})
		}
	}
	return problems
}

// SameShape says how an adapter to go on from differs from the one that is asked for: its modules, ranks or scales.
func (p *Plan) SameShape(parent *Plan) error {
	var problems []job.Problem
	add := func(field, parent, asked string) {
		if parent != asked {
			problems = append(problems, job.Problem{Field: field, Found: asked, Reason: "the adapter of init_from has " + parent, Next: "use the same"})
		}
	}
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	add("r", number(float64(parent.Config.R)), number(float64(p.Config.R)))
	add("lora_alpha", number(parent.Config.Alpha), number(p.Config.Alpha))
	add("use_rslora", strconv.FormatBool(parent.Config.RSLora), strconv.FormatBool(p.Config.RSLora))
	for layer := range p.Layers {
		was, asked := parent.modules(layer), p.modules(layer)
		if was != asked {
			problems = append(problems, job.Problem{Field: "target_modules", Found: asked, Next: "use the same",
				Reason: fmt.Sprintf("the adapter of init_from has %s in layer %d", was, layer)})
			break
		}
		if len(problems) == 0 && parent.Signature(layer) != p.Signature(layer) {
			add("rank_pattern and alpha_pattern", fmt.Sprintf("%s in layer %d (module:rank:scale)", parent.Signature(layer), layer), p.Signature(layer))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return job.UserError(job.CodeBadRequest, "training cannot go on from this adapter: it has another shape", "give the options that it was made with", problems...)
}

// list names the modules that have an adapter, those of several layers once.
func (p *Plan) list() string {
	var names []string
	for _, modules := range p.Layers {
		for _, m := range modules {
			if !slices.Contains(names, m.Local) {
				names = append(names, m.Local)
			}
		}
	}
	return strings.Join(names, ", ")
}

// modules names the modules of a layer that have an adapter.
func (p *Plan) modules(layer int) string {
	var names []string
	for _, m := range p.Layers[layer] {
		names = append(names, m.Local)
	}
	if names == nil {
		return "no module"
	}
	return strings.Join(names, ", ")
}
