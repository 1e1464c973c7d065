package inference

import (
	"fmt"
	"slices"

	"descant/pkg/generate"
	"descant/pkg/job"
)

// The values of Config.Speculation.
const (
	speculationAuto = "auto"
	speculationOn   = "on"
	speculationOff  = "off"
)

// defaultPrefixCache is what the engine takes on a CPU where nothing is said.
const defaultPrefixCache = 128 << 20

// checkEngine returns what is wrong with the settings of the engine.
func (c Config) checkEngine() (errs []error) {
	oneOf := func(name, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			errs = append(errs, fmt.Errorf("inference: %s is %q: use one of %v", name, value, allowed))
		}
	}
	oneOf("dtype", c.DType, job.DTypeAuto, job.DTypeF32, job.DTypeBF16)
	oneOf("lora_dtype", c.LoraDType, job.DTypeAuto, job.DTypeF32, job.DTypeBF16)
	oneOf("speculation", c.Speculation, speculationAuto, speculationOn, speculationOff)
	if c.DraftTokens < 1 || c.DraftTokens > generate.MaxDraftTokens {
		errs = append(errs, fmt.Errorf("inference: draft_tokens is %d: use 1 to %d", c.DraftTokens, generate.MaxDraftTokens))
	}
	return errs
}

// dtype is what the bases are held in.
func (c Config) dtype() string {
	if c.DType == job.DTypeBF16 {
		return generate.BF16
	}
	return generate.F32
}

// loraDType is what adapters are held in.
func (c Config) loraDType() string {
	switch c.LoraDType {
	case job.DTypeF32:
		return generate.F32
	case job.DTypeBF16:
		return generate.BF16
	}
	return c.dtype()
}

// rounds tells whether anything is held in bf16, so that logits are not those of a trainer in f32.
func (c Config) rounds() bool { return c.dtype() == generate.BF16 || c.loraDType() == generate.BF16 }

// engineOptions are the settings for a base whose tokenizer knows so many ids. The gate bounds how many wait, and how long.
func (c Config) engineOptions(vocab int) generate.Options {
	o := generate.Options{MaxContext: c.MaxContext, MaxRows: c.MaxRows, Slots: c.Slots, MaxRank: c.MaxRank, UsedVocab: vocab,
		DType: c.dtype(), LoraDType: c.loraDType(), PrefixCache: int64(c.PrefixCache), DraftTokens: c.DraftTokens}
	switch c.PrefixCache {
	case 0:
		o.PrefixCache = -1
	case defaultPrefixCache:
		o.PrefixCache = 0 // where the device can
	}
	return o
}

// speculation is the same for all requests.
func (c Config) speculation() generate.Speculation {
	switch c.Speculation {
	case speculationOn:
		return generate.SpeculationOn
	case speculationOff:
		return generate.SpeculationOff
	}
	return generate.SpeculationAuto
}
