package trainer

import "errors"

// Config of the trainer.
type Config struct {
	// WorkDir is where shards, checkpoints and adapters lie while a job trains. Defaults to the cache
	// folder's work/trainer.
	WorkDir string `yaml:"work_dir" help:"folder for shards, checkpoints and adapters while a job trains"`
	// KeepCheckpoints is how many checkpoints of a running job stay in the object store, unless its save_total_limit
	// says otherwise. Defaults to 2: the newest, and one to fall back on should it be damaged.
	KeepCheckpoints int `yaml:"keep_checkpoints" help:"how many checkpoints of a running job are kept (a job's save_total_limit goes before)"`
}

// Defaults returns the configuration of `descant up`.
func Defaults() Config { return Config{KeepCheckpoints: 2} }

// Validate returns all that is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.WorkDir == "" {
		errs = append(errs, errors.New("trainer: work_dir is empty: name a folder"))
	}
	if c.KeepCheckpoints < 1 {
		errs = append(errs, errors.New("trainer: keep_checkpoints must be at least 1"))
	}
	return errors.Join(errs...)
}
