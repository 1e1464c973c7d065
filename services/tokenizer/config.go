package tokenizer

import "fmt"

// Config of the tokenizer.
type Config struct {
	// Concurrency is how many jobs are tokenized at once. Defaults to 1.
	Concurrency int `yaml:"concurrency" help:"how many jobs are tokenized at once"`
	// WorkDir is where files lie while they are made. Defaults to the cache folder's work/tokenizer.
	WorkDir string `yaml:"work_dir" help:"folder for files while they are made"`
}

// Defaults returns the configuration of `descant up`.
func Defaults() Config { return Config{Concurrency: 1} }

// Validate returns what is wrong with the configuration.
func (c Config) Validate() error {
	if c.Concurrency < 1 {
		return fmt.Errorf("tokenizer: concurrency is %d: use at least 1", c.Concurrency)
	}
	return nil
}
