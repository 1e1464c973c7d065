package inference

import (
	"errors"
	"fmt"
	"time"
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
	MaxContext int `yaml:"max_context" help:"longest prompt and answer together, in tokens"`
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
	// MaxTokens is the length of an answer when the request names none. Defaults to 512.
	MaxTokens int `yaml:"max_tokens" help:"longest answer when the request names none, in tokens"`
	// Warm loads the base of a job as soon as the job trains, so that its adapter can answer at once.
	// Defaults to true.
	Warm bool `yaml:"warm" help:"load a job's base while the job trains"`
	// Relist is how often the registry is listed again. Defaults to 30s.
	Relist time.Duration `yaml:"relist" help:"how often the registry is listed again"`
	// WorkDir is where fetched adapters lie. Defaults to the cache folder's work/inference.
	WorkDir string `yaml:"work_dir" help:"folder for fetched adapters"`
}

// Defaults returns the configuration of `descant up`.
func Defaults() Config {
	return Config{MaxBases: 2, MaxRows: 8, MaxWaiting: 256, MaxWait: time.Minute, Slots: 16, MaxRank: 8, MaxTokens: 512, Warm: true, Relist: 30 * time.Second}
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
	if c.WorkDir == "" {
		errs = append(errs, errors.New("inference: work_dir is empty: name a folder"))
	}
	return errors.Join(errs...)
}
