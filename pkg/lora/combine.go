package lora

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"descant/pkg/job"
)

// Linear combines adapters of the same rank as PEFT's add_weighted_adapter does with combination_type "linear"
// (_generalized_task_arithmetic_weighted_adapter in tuners/lora/model.py): for every module
//
//	A = Σ √(wᵢ·scaleᵢ)·Aᵢ    B = Σ √(wᵢ·scaleᵢ)·Bᵢ    scale = 1
//
// over the adapters that have the module. The change B·A thus holds products of each with each other; with one adapter
// of weight 1 it is the adapter itself. Weights are 0 or more: the root of a negative one does not exist. As in PEFT all
// must have the same rank, and a module that one of them lacks is made of the others.
//
// PEFT keeps use_rslora and alpha_pattern of the first adapter, which then multiply the sum once more; here the scale of
// the sum is always 1.
func Linear(adapters []*Adapter, weights []float64) (*Adapter, error) {
	if err := checkLinear(adapters, weights); err != nil {
		return nil, err
	}
	first := adapters[0]
	plan := &Plan{Layers: make([][]Module, len(first.Layers)), Config: &Config{R: first.Config.R, Alpha: float64(first.Config.R), BaseName: first.Config.BaseName}}
	sum := &Adapter{Plan: plan, Flats: make([][]float32, len(first.Layers))}
	for layer := range first.Layers {
		for _, m := range modulesOf(adapters, layer) {
			m.Scale, m.A = 1, len(sum.Flats[layer])
			m.B = m.A + m.Rank*m.In
			sum.Flats[layer] = append(sum.Flats[layer], make([]float32, m.Rank*(m.In+m.Out))...)
			for i, a := range adapters {
				if err := a.addTo(sum.Flats[layer], layer, m, weights[i]); err != nil {
					return nil, fmt.Errorf("combine adapters: number %d: %w", i+1, err)
				}
			}
			plan.Layers[layer] = append(plan.Layers[layer], m)
			plan.Config.Targets = append(plan.Config.Targets, m.Name)
			if m.Rank != plan.Config.R {
				pattern := job.Pattern{Key: m.Name, Value: float64(m.Rank)}
				plan.Config.RankPattern, plan.Config.AlphaPattern = append(plan.Config.RankPattern, pattern), append(plan.Config.AlphaPattern, pattern)
			}
		}
	}
	return sum, nil
}

// checkLinear lists what keeps adapters from being combined.
func checkLinear(adapters []*Adapter, weights []float64) error {
	var problems []string
	if len(adapters) == 0 || len(adapters) != len(weights) {
		return fmt.Errorf("combine adapters: %d adapters and %d weights: give one weight for each of at least one adapter", len(adapters), len(weights))
	}
	for i, w := range weights {
		if !(w >= 0) || math.IsInf(w, 0) {
			problems = append(problems, fmt.Sprintf("weight %d is %g: give 0 or more", i+1, w))
		}
	}
	for i, a := range adapters[1:] {
		if a.Config.R != adapters[0].Config.R {
			problems = append(problems, fmt.Sprintf("adapter %d has rank %d, the first one %d: a linear combination needs one rank", i+2, a.Config.R, adapters[0].Config.R))
		}
		if len(a.Layers) != len(adapters[0].Layers) {
			problems = append(problems, fmt.Sprintf("adapter %d is for a base of %d layers, the first one of %d", i+2, len(a.Layers), len(adapters[0].Layers)))
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("combine adapters: %s", strings.Join(problems, "; "))
	}
	return nil
}

// modulesOf lists the modules of a layer that any of the adapters has.
func modulesOf(adapters []*Adapter, layer int) (list []Module) {
	for _, a := range adapters {
		for _, m := range a.Layers[layer] {
			if !slices.ContainsFunc(list, func(have Module) bool { return have.Name == m.Name }) {
				list = append(list, m)
			}
		}
	}
	return list
}

// addTo adds a weighted adapter's matrices of a module to flat, where the sum's module lies.
func (a *Adapter) addTo(flat []float32, layer int, sum Module, weight float64) error {
	at := slices.IndexFunc(a.Layers[layer], func(m Module) bool { return m.Name == sum.Name })
	if at < 0 {
		return nil
	}
	m := a.Layers[layer][at]
	if m.Rank != sum.Rank || m.In != sum.In || m.Out != sum.Out {
		return fmt.Errorf("%s has rank %d and is %d×%d, in an earlier one rank %d and %d×%d", m.Name, m.Rank, m.Out, m.In, sum.Rank, sum.Out, sum.In)
	}
	if m.Scale < 0 {
		return fmt.Errorf("%s has the negative scale %g (lora_alpha), which has no root", m.Name, m.Scale)
	}
	factor := float32(math.Sqrt(weight * m.Scale))
	for i := range m.Rank * (m.In + m.Out) { // A, and B right behind it
		flat[sum.A+i] += factor * a.Flats[layer][m.A+i]
	}
	return nil
}
