package generate

import (
	"errors"
	"fmt"
	"time"

	"descant/pkg/model"
)

// Values of [Options.DType] and [Options.LoraDType].
const (
	F32  = "f32"
	BF16 = "bf16"
)

// Options size an engine. The zero value is usable.
type Options struct {
	// MaxContext is the longest prompt and output together, in tokens. Defaults to 2048, or to what the base was
	// made for where that is less.
	MaxContext int
	// MaxRows is how many requests are answered at the same time; more wait. Defaults to 8.
	MaxRows int
	// Slots times MaxRank is the number of adapter columns, an adapter of rank r takes r of them. Slots defaults to
	// 8; -1 is an engine for the bare base, which is faster. MaxRank defaults to 8.
	Slots, MaxRank int
	// UsedVocab is the number of ids that the tokenizer knows; ids from there on have logits but no text and are
	// never generated. Defaults to the size of the base's vocabulary.
	UsedVocab int
	// PrefixCache bounds the memory, in bytes, for keys and values of prompts and answers that are kept for requests
	// that begin alike. Defaults to 128 MiB, or to none on a device that does not share its memory; -1 is none.
	PrefixCache int64
	// DType is what the base's matrices are multiplied in: [F32] (the default) computes like the reference; the logits of [BF16] differ by the
	// rounding of the activations. With BF16 they take two bytes a weight, and with F32 where [model.LoadHalvesOn] finds that it can.
	DType string
	// LoraDType is what the adapters' matrices are held in. Defaults to DType. With [BF16] they take two bytes a value, rounded to the nearest when an adapter is
	// loaded; products with them are those of DType. With [F32] under DType [BF16] products with them are of f32, with activations as they are.
	LoraDType string
	// DraftTokens is the longest draft of a speculation, 1 to 15 tokens. Defaults to 7.
	DraftTokens int
	// MaxWaiting is how many requests may wait for a row; one more is refused with a [BusyError]. Defaults to 1024.
	MaxWaiting int
	// MaxWait is how long a request may wait for a row before it ends with a [LateError]. Defaults to no limit.
	MaxWait time.Duration
}

// withDefaults fills in and checks the options for a base.
func (o Options) withDefaults(cfg *model.Config) (Options, error) {
	set := func(value *int, fallback int) {
		if *value == 0 {
			*value = fallback
		}
	}
	set(&o.MaxContext, min(2048, cfg.MaxPositions))
	set(&o.MaxRows, 8)
	set(&o.Slots, 8)
	set(&o.MaxRank, 8)
	set(&o.UsedVocab, cfg.Vocab)
	set(&o.MaxWaiting, 1024)
	set(&o.DraftTokens, draftTokens)
	if o.DType == "" {
		o.DType = F32
	}
	if o.LoraDType == "" {
		o.LoraDType = o.DType
	}
	var errs []error
	for _, d := range []struct{ name, value string }{{"dtype", o.DType}, {"dtype of adapters", o.LoraDType}} {
		if d.value != F32 && d.value != BF16 {
			errs = append(errs, fmt.Errorf("%s is %q: give %s or %s", d.name, d.value, F32, BF16))
		}
	}
	if o.MaxContext < 2 || o.MaxContext > cfg.MaxContext() {
		errs = append(errs, fmt.Errorf("max context is %d: give 2 to %d, what the base was made for", o.MaxContext, cfg.MaxContext()))
	}
	if o.MaxRows < 1 || o.MaxRows > 256 {
		errs = append(errs, fmt.Errorf("max rows is %d: give 1 to 256", o.MaxRows))
	}
	if o.Slots < -1 || o.MaxRank < 1 || o.Slots*o.MaxRank > 4096 {
		errs = append(errs, fmt.Errorf("slots %d of rank %d: give slots from 1 (or -1 for none) and a rank from 1, together "+
			"at most 4096 columns", o.Slots, o.MaxRank))
	}
	if o.UsedVocab < 1 || o.UsedVocab > cfg.Vocab {
		errs = append(errs, fmt.Errorf("used vocabulary is %d: give 1 to %d", o.UsedVocab, cfg.Vocab))
	}
	if o.DraftTokens < 1 || o.DraftTokens > MaxDraftTokens {
		errs = append(errs, fmt.Errorf("draft tokens are %d: give 1 to %d", o.DraftTokens, MaxDraftTokens))
	}
	if o.MaxWaiting < 1 || o.MaxWait < 0 {
		errs = append(errs, fmt.Errorf("max waiting is %d and max wait %s: give a queue of 1 request or more, and 0 (no limit) "+
			"or a positive duration", o.MaxWaiting, o.MaxWait))
	}
	return o, errors.Join(errs...)
}

// prefixCache is the size of the prefix cache; shared says whether Go can read the device's memory.
func prefixCache(bytes int64, shared bool) (int64, error) {
	switch {
	case bytes < 0:
		return 0, nil
	case !shared && bytes > 0:
		return 0, fmt.Errorf("a prefix cache of %d bytes needs a device that shares its memory with Go (a CPU): give 0 or -1", bytes)
	case !shared:
		return 0, nil
	case bytes == 0:
		return 128 << 20, nil
	}
	return bytes, nil
}
