package gateway

import (
	"fmt"
	"time"
)

// Config of the gateway.
type Config struct {
	// Reconcile is how often the jobs are looked through for one that no message will wake.
	// Defaults to 15s.
	Reconcile time.Duration `yaml:"reconcile" help:"how often jobs are looked through for one that is stuck"`
	// Grace is how long a job may be without a worker before its work is queued again. Defaults to 2m.
	Grace time.Duration `yaml:"grace" help:"how long a waiting job may stay unchanged before its work is queued again"`
}

// Defaults returns the configuration of `descant up`.
func Defaults() Config {
	return Config{Reconcile: 15 * time.Second, Grace: 2 * time.Minute}
}

// Validate returns what is wrong with the configuration.
func (c Config) Validate() error {
	if c.Reconcile <= 0 || c.Grace <= 0 {
		return fmt.Errorf("gateway: reconcile is %s and grace is %s: use positive durations", c.Reconcile, c.Grace)
	}
	return nil
}
