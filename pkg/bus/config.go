package bus

import (
	"errors"
	"fmt"
	"time"

	"descant/pkg/lifecycle"
)

// Config says how to reach NATS and how the streams are kept.
type Config struct {
	// URL of the server, several separated by commas. Defaults to nats://127.0.0.1:4222.
	URL string `yaml:"url" help:"URL of the NATS server, several separated by commas"`
	// Name of this client in the server's lists. Defaults to descant.
	Name string `yaml:"name" help:"name of this client in the server's lists"`
	// User for password authentication. Defaults to none.
	User string `yaml:"user" help:"user of the NATS account"`
	// Password of User.
	Password lifecycle.Secret `yaml:"password" help:"password of the NATS user"`
	// Token for token authentication.
	Token lifecycle.Secret `yaml:"token" help:"token of the NATS account"`
	// Credentials is a file with a JWT and its key. Defaults to none.
	Credentials string `yaml:"credentials" help:"file with NATS credentials (JWT and key)"`
	// CA is a file with the certificates that sign the server's. Defaults to the system's.
	CA string `yaml:"ca" help:"file with the certificate authority of the NATS server"`
	// Replicas of every stream and bucket: 1, 3 or 5. Defaults to 1.
	Replicas int `yaml:"replicas" help:"replicas of every stream (1, 3 or 5)"`
	// AckWait is how long a worker may be silent before its work goes to
	// another: longer than the longest micro-batch, and the same in every
	// process. Defaults to 60s.
	AckWait time.Duration `yaml:"ack_wait" help:"silence after which a worker's job goes to another"`
	// Retention is how long an idle job, its events and dead letters are kept;
	// 0 keeps them for ever. Defaults to 2160h (90 days).
	Retention time.Duration `yaml:"retention" help:"how long idle jobs and their events are kept (0: for ever)"`
	// Timeout of one request to the server. Defaults to 5s.
	Timeout time.Duration `yaml:"timeout" help:"timeout of one request to the NATS server"`
	// Guest takes the streams and buckets as the services made them: a command
	// must not bring its own retention into a running system. Defaults to false.
	Guest bool `yaml:"-"`
}

// Defaults returns the configuration that fits `descant up`.
func Defaults() Config {
	return Config{
		URL:       "nats://127.0.0.1:4222",
		Name:      "descant",
		Replicas:  1,
		AckWait:   60 * time.Second,
		Retention: 90 * 24 * time.Hour,
		Timeout:   5 * time.Second,
	}
}

// Validate returns all that is wrong with the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.URL == "" {
		errs = append(errs, errors.New("url is empty: give the address of the NATS server, such as nats://127.0.0.1:4222"))
	}
	if c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5 {
		errs = append(errs, fmt.Errorf("replicas is %d: use 1, 3 or 5", c.Replicas))
	}
	if c.AckWait < time.Second {
		errs = append(errs, fmt.Errorf("ack_wait is %s: use at least 1s, 30s to 60s for real work", c.AckWait))
	}
	if c.Retention < 0 {
		errs = append(errs, fmt.Errorf("retention is %s: use 0 or a positive duration", c.Retention))
	}
	if c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("timeout is %s: use a positive duration", c.Timeout))
	}
	return errors.Join(errs...)
}
