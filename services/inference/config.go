package inference

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"descant/pkg/job"
	"descant/pkg/lifecycle"
	"descant/pkg/openai"
	"descant/pkg/registry"
)

// Config of an inference worker.
type Config struct {
	// Model is the base that is loaded at the start and answers requests that name no model. Defaults
	// to none: bases are loaded when the first request or adapter needs them.
	Model string `yaml:"model" help:"base model to load at the start; it answers requests that name no model"`
	// MaxBases is how many bases are held in memory at once. Defaults to 2.
	MaxBases int `yaml:"max_bases" help:"how many base models are held in memory at once"`
	// MaxContext is the longest prompt and answer together, in tokens. Defaults to 2048, or to what the
	// base was made for where that is less.
	MaxContext int `yaml:"max_context" help:"longest prompt and answer together, in tokens (0: 2048, or what the base was made for where that is less)"`
	// MaxRows is how many requests a base answers at once. Defaults to 8.
	MaxRows int `yaml:"max_rows" help:"how many requests a base answers at once"`
	// MaxWaiting is how many requests may wait for a base's rows and slots; more are refused as overloaded. Defaults to 256.
	MaxWaiting int `yaml:"max_waiting" help:"how many requests may wait for a base"`
	// MaxWait is how long a request may wait before it is refused. Defaults to 1m.
	MaxWait time.Duration `yaml:"max_wait" help:"how long a request may wait for its turn"`
	// Slots is how many adapters of rank MaxRank a base holds at once. Defaults to 16.
	Slots int `yaml:"slots" help:"how many adapters of rank max_rank a base holds at once"`
	// MaxRank is the rank on which Slots counts. Defaults to 8.
	MaxRank int `yaml:"max_rank" help:"rank on which slots counts"`
	// DType is what a base's matrices are held in: f32 (two bytes for each weight on a CPU with AVX2 if they are stored in bf16), bf16 (not on
	// the pure-Go device), or auto, which is f32. Defaults to auto.
	DType string `yaml:"dtype" help:"arithmetic of the bases: f32, bf16 or auto, which is f32"`
	// LoraDType is what adapters are held in, in slots: f32, bf16 (half of the memory, and of what a step reads of them; not on the pure-Go device), or auto, which
	// is as the bases. Defaults to auto.
	LoraDType string `yaml:"lora_dtype" help:"what adapters are held in: f32, bf16 (half of the memory) or auto, which is as dtype"`
	// PrefixCache bounds the keys and values of prompts and answers that a base keeps for requests that begin alike; 0 is
	// none. Defaults to 128MiB on a CPU; a GPU has none.
	PrefixCache lifecycle.Bytes `yaml:"prefix_cache" help:"most memory of a base for beginnings of prompts that were computed before (0: none; CPU only)"`
	// Speculation is whether several tokens are computed at once where a text repeats itself, which changes no answer: auto
	// (where it pays), on or off. Defaults to auto.
	Speculation string `yaml:"speculation" help:"compute several tokens at once where a text repeats itself: auto (where it pays), on or off"`
	// DraftTokens is how many tokens speculation may be ahead. Defaults to 7.
	DraftTokens int `yaml:"draft_tokens" help:"how many tokens speculation may be ahead"`
	// MaxTokens is the length of an answer when the request names none. Defaults to 512.
	MaxTokens int `yaml:"max_tokens" help:"longest answer when the request names none, in tokens"`
	// Warm loads the base of a job as soon as the job trains, so that its adapter can answer at once.
	// Defaults to true.
	Warm bool `yaml:"warm" help:"load a job's base while the job trains"`
	// Relist is how often the registry is listed again. Defaults to 30s.
	Relist time.Duration `yaml:"relist" help:"how often the registry is listed again"`
	// APIAddr serves this worker's own HTTP API, as a gateway of Kubernetes wants it: /v1/chat/completions, /v1/completions,
	// /v1/models, /health and /metrics. An address that other machines can reach needs APIKeys. Defaults to off.
	APIAddr string `yaml:"api_addr" help:"address of this worker's own HTTP API (off: none)"`
	// APIKeys are the keys of that API, one a line, as those of the gateway. Defaults to none.
	APIKeys lifecycle.Secret `yaml:"api_keys" help:"keys of this worker's own HTTP API, one a line"`
	// HostBytes bounds the adapters that are kept in this process's memory beside those in slots. Defaults to 1GiB.
	HostBytes lifecycle.Bytes `yaml:"host_bytes" help:"most memory for adapters that are not in a slot"`
	// DiskBytes bounds the fetched versions in WorkDir. Defaults to 20GiB.
	DiskBytes lifecycle.Bytes `yaml:"disk_bytes" help:"most bytes of fetched adapters on this disk"`
	// Pin are adapters that are loaded at the start and stay in their slots, separated by commas; my-adapter@prod
	// follows the alias. Defaults to none.
	Pin string `yaml:"pin" help:"adapters that stay in their slots, separated by commas"`
	// WorkDir is where fetched adapters lie. Defaults to the cache folder's work/inference.
	WorkDir string `yaml:"work_dir" help:"folder for fetched adapters"`
}

// Defaults returns the configuration of `descant up`.
func Defaults() Config {
	return Config{MaxBases: 2, MaxRows: 8, MaxWaiting: 256, MaxWait: time.Minute, Slots: 16, MaxRank: 8, MaxTokens: 512, Warm: true,
		DType: job.DTypeAuto, LoraDType: job.DTypeAuto, PrefixCache: defaultPrefixCache, Speculation: speculationAuto, DraftTokens: 7, Relist: 30 * time.Second,
		APIAddr: apiOff, HostBytes: 1 << 30, DiskBytes: 20 << 30}
}

// Validate returns all that is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	for name, value := range map[string]int{"max_bases": c.MaxBases, "max_rows": c.MaxRows, "max_waiting": c.MaxWaiting, "slots": c.Slots, "max_rank": c.MaxRank, "max_tokens": c.MaxTokens} {
		if value < 1 {
			errs = append(errs, fmt.Errorf("inference: %s is %d: use at least 1", name, value))
		}
	}
	if c.MaxContext < 0 {
		errs = append(errs, fmt.Errorf("inference: max_context is %d: use 0 (what the base allows) or more", c.MaxContext))
	}
	if c.MaxWait <= 0 {
		errs = append(errs, fmt.Errorf("inference: max_wait is %s: use a positive duration", c.MaxWait))
	}
	if c.Relist <= 0 {
		errs = append(errs, fmt.Errorf("inference: relist is %s: use a positive duration", c.Relist))
	}
	if err := c.checkAPI(); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, c.checkEngine()...)
	pinned, err := c.pinned()
	if err != nil {
		errs = append(errs, err)
	}
	if len(pinned) >= c.Slots {
		errs = append(errs, fmt.Errorf("inference: pin names %d adapters for %d slots: leave at least one slot for the others", len(pinned), c.Slots))
	}
	if c.WorkDir == "" {
		errs = append(errs, errors.New("inference: work_dir is empty: name a folder"))
	}
	return errors.Join(errs...)
}

// checkAPI returns what is wrong with the address and the keys of the HTTP API.
func (c Config) checkAPI() error {
	keys, err := openai.ParseKeys(c.APIKeys.Reveal())
	switch {
	case err != nil:
		return fmt.Errorf("inference: api_keys: %w", err)
	case c.APIAddr == apiOff:
		return nil
	}
	if _, _, err := net.SplitHostPort(c.APIAddr); err != nil {
		return fmt.Errorf("inference: api_addr %q: use host:port such as 127.0.0.1:8001, or off", c.APIAddr)
	}
	if keys.Empty() && !openai.Loopback(c.APIAddr) {
		return fmt.Errorf("inference: api_addr %s can be reached from other machines, where anybody could use it: set API keys "+
			"(--inference-api-keys-file FILE, one key a line), or use a loopback address such as 127.0.0.1:8001", c.APIAddr)
	}
	return nil
}

// pinned lists the references of Pin.
func (c Config) pinned() (refs []registry.Reference, err error) {
	for text := range strings.SplitSeq(c.Pin, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		ref, err := registry.ParseReference(text)
		if err != nil {
			return nil, fmt.Errorf("inference: pin: %w", err)
		}
		refs = append(refs, ref)
	}
	return refs, nil
}
